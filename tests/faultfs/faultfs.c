/* SPDX-License-Identifier: Apache-2.0 */
/* faultfs: a passthrough FUSE filesystem that is as slow and as sick as its control file says.
 *
 *   faultfs [-f] CONTROL SOURCE MOUNTPOINT [--max-threads=N] [-o FUSE_OPTION]
 *
 * Every operation on MOUNTPOINT waits (a round trip), fails if it is told to, or is passed on to SOURCE unchanged.
 * CONTROL is a small file that stays mapped: what is written there holds from the next operation on, and the numbers
 * of operations seen can be read there (struct control; tests/faultfs/__init__.py is the other side).
 *
 * Operations run on as many threads as the kernel asks for, so concurrent requests overlap, as on a parallel
 * filesystem, and a caller that keeps one request in flight pays each round trip. Kernel caching is off: every call of
 * the program under test arrives here. SIGSTOP makes the storage hang, SIGKILL makes it fail with ENOTCONN.
 */
#define FUSE_USE_VERSION 312
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* What a fault can be put on. WRITE is all that changes something: data, names, times, sizes. */
enum class { READ, WRITE, META, CLASSES };

struct control {
    _Atomic int32_t delay_us; /* before each read, write and fsync */
    _Atomic int32_t meta_us;  /* before every other operation */
    _Atomic int32_t bw_mib;   /* reads and writes together, MiB/s; 0: no limit */
    _Atomic int32_t error;    /* errno of the operations in `on`; 0: none fails */
    _Atomic uint32_t on;      /* bit 1 << class */
    _Atomic uint32_t hang;    /* bit 1 << class: operations that wait until this changes */
    _Atomic uint64_t seen[CLASSES];
};

static struct options {
    int max_threads;
} opt = {128};
static const char *words[2]; /* CONTROL and SOURCE; what follows is for FUSE */
static int word_count;
static struct control *control;
static int root_fd = -1;

static void sleep_ns(int64_t ns)
{
    struct timespec t = {ns / 1000000000, ns % 1000000000};
    while (ns > 0 && nanosleep(&t, &t) == -1 && errno == EINTR) {}
}

/* The round trip of an operation, then its fault: -errno, or 0 to go on. */
static int trip(enum class class, int32_t delay_us)
{
    atomic_fetch_add(&control->seen[class], 1);
    sleep_ns((int64_t)delay_us * 1000);
    while (atomic_load(&control->hang) & (1u << class))
        sleep_ns(5000000);
    return atomic_load(&control->on) & (1u << class) ? -atomic_load(&control->error) : 0;
}
static int data(enum class class) { return trip(class, atomic_load(&control->delay_us)); }
static int name(enum class class) { return trip(class, atomic_load(&control->meta_us)); }

/* A full filesystem still lets one remove. */
static int removal(void)
{
    int e = name(WRITE);
    return e == -ENOSPC || e == -EDQUOT ? 0 : e;
}

#define PASS(fault)    \
    do {               \
        int e = fault; \
        if (e)         \
            return e;  \
    } while (0)

/* One link for all: each transfer books its time after the last booked one and sleeps until its end. */
static void link_time(size_t bytes)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static int64_t booked;
    int32_t mib = atomic_load(&control->bw_mib);
    struct timespec t;
    int64_t now, end;
    if (mib <= 0)
        return;
    clock_gettime(CLOCK_MONOTONIC, &t);
    now = t.tv_sec * 1000000000LL + t.tv_nsec;
    pthread_mutex_lock(&lock);
    if (booked < now)
        booked = now;
    booked += (int64_t)((double)bytes * 1e9 / ((double)mib * 1048576.0));
    end = booked;
    pthread_mutex_unlock(&lock);
    sleep_ns(end - now);
}

static const char *rel(const char *p) { return p[1] ? p + 1 : "."; }
static int ret(int r) { return r == -1 ? -errno : 0; }

static void *f_init(struct fuse_conn_info *conn, struct fuse_config *cfg)
{
    conn->max_write = 1 << 20;
    conn->max_background = 512;
    conn->congestion_threshold = 512;
    cfg->kernel_cache = 0;
    cfg->attr_timeout = cfg->entry_timeout = cfg->negative_timeout = 0;
    cfg->nullpath_ok = 1;
    cfg->use_ino = 1;
    cfg->hard_remove = 1;
    cfg->direct_io = 1;
    return NULL;
}

static int f_getattr(const char *p, struct stat *st, struct fuse_file_info *fi)
{
    PASS(name(META));
    return ret(fi ? fstat((int)fi->fh, st) : fstatat(root_fd, rel(p), st, AT_SYMLINK_NOFOLLOW));
}
static int f_access(const char *p, int mask)
{
    PASS(name(META));
    return ret(faccessat(root_fd, rel(p), mask, 0));
}
static int f_readlink(const char *p, char *buf, size_t n)
{
    ssize_t r;
    PASS(name(META));
    if ((r = readlinkat(root_fd, rel(p), buf, n - 1)) == -1)
        return -errno;
    buf[r] = 0;
    return 0;
}
static int f_statfs(const char *p, struct statvfs *s)
{
    (void)p;
    PASS(name(META));
    return ret(fstatvfs(root_fd, s));
}

static int f_mkdir(const char *p, mode_t m)
{
    PASS(name(WRITE));
    return ret(mkdirat(root_fd, rel(p), m));
}
static int f_symlink(const char *to, const char *p)
{
    PASS(name(WRITE));
    return ret(symlinkat(to, root_fd, rel(p)));
}
static int f_link(const char *a, const char *b)
{
    PASS(name(WRITE));
    return ret(linkat(root_fd, rel(a), root_fd, rel(b), 0));
}
static int f_rename(const char *a, const char *b, unsigned flags)
{
    PASS(name(WRITE));
    return ret(renameat2(root_fd, rel(a), root_fd, rel(b), flags));
}
static int f_unlink(const char *p)
{
    PASS(removal());
    return ret(unlinkat(root_fd, rel(p), 0));
}
static int f_rmdir(const char *p)
{
    PASS(removal());
    return ret(unlinkat(root_fd, rel(p), AT_REMOVEDIR));
}
static int f_chmod(const char *p, mode_t m, struct fuse_file_info *fi)
{
    PASS(name(WRITE));
    return ret(fi ? fchmod((int)fi->fh, m) : fchmodat(root_fd, rel(p), m, 0));
}
static int f_chown(const char *p, uid_t u, gid_t g, struct fuse_file_info *fi)
{
    PASS(name(WRITE));
    return ret(fi ? fchown((int)fi->fh, u, g) : fchownat(root_fd, rel(p), u, g, AT_SYMLINK_NOFOLLOW));
}
static int f_utimens(const char *p, const struct timespec tv[2], struct fuse_file_info *fi)
{
    PASS(name(WRITE));
    return ret(fi ? futimens((int)fi->fh, tv) : utimensat(root_fd, rel(p), tv, AT_SYMLINK_NOFOLLOW));
}
static int f_truncate(const char *p, off_t n, struct fuse_file_info *fi)
{
    int fd, r;
    PASS(name(WRITE));
    if (fi)
        return ret(ftruncate((int)fi->fh, n));
    if ((fd = openat(root_fd, rel(p), O_WRONLY | O_CLOEXEC)) == -1)
        return -errno;
    r = ret(ftruncate(fd, n));
    close(fd);
    return r;
}

static int open_at(const char *p, int flags, mode_t m, struct fuse_file_info *fi)
{
    int fd;
    PASS(name((flags & O_ACCMODE) == O_RDONLY ? META : WRITE));
    /* The caller's O_DIRECT is between it and FUSE: our own buffers are not aligned for it. */
    if ((fd = openat(root_fd, rel(p), (flags & ~O_DIRECT) | O_CLOEXEC, m)) == -1)
        return -errno;
    fi->fh = (uint64_t)fd;
    fi->direct_io = 1;
    return 0;
}
static int f_create(const char *p, mode_t m, struct fuse_file_info *fi)
{
    return open_at(p, fi->flags | O_CREAT, m, fi);
}
static int f_open(const char *p, struct fuse_file_info *fi) { return open_at(p, fi->flags & ~O_CREAT, 0, fi); }
static int f_read(const char *p, char *buf, size_t n, off_t off, struct fuse_file_info *fi)
{
    ssize_t r;
    (void)p;
    PASS(data(READ));
    if ((r = pread((int)fi->fh, buf, n, off)) == -1)
        return -errno;
    link_time((size_t)r);
    return (int)r;
}
static int f_write(const char *p, const char *buf, size_t n, off_t off, struct fuse_file_info *fi)
{
    ssize_t r;
    (void)p;
    PASS(data(WRITE));
    link_time(n);
    if ((r = pwrite((int)fi->fh, buf, n, off)) == -1)
        return -errno;
    return (int)r;
}
static int f_fsync(const char *p, int datasync, struct fuse_file_info *fi)
{
    (void)p;
    PASS(data(WRITE));
    return ret(datasync ? fdatasync((int)fi->fh) : fsync((int)fi->fh));
}
static int f_fallocate(const char *p, int mode, off_t off, off_t n, struct fuse_file_info *fi)
{
    (void)p;
    PASS(name(WRITE));
    return ret(fallocate((int)fi->fh, mode, off, n));
}
static int f_flock(const char *p, struct fuse_file_info *fi, int op)
{
    (void)p;
    PASS(name(META));
    return ret(flock((int)fi->fh, op));
}
static int f_release(const char *p, struct fuse_file_info *fi)
{
    (void)p;
    return ret(close((int)fi->fh));
}

static int f_opendir(const char *p, struct fuse_file_info *fi)
{
    int fd;
    DIR *d;
    PASS(name(META));
    if ((fd = openat(root_fd, rel(p), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1)
        return -errno;
    if (!(d = fdopendir(fd))) {
        int e = errno;
        close(fd);
        return -e;
    }
    fi->fh = (uint64_t)(uintptr_t)d;
    return 0;
}
static int f_readdir(const char *p, void *buf, fuse_fill_dir_t fill, off_t off, struct fuse_file_info *fi,
                     enum fuse_readdir_flags flags)
{
    DIR *d = (DIR *)(uintptr_t)fi->fh;
    struct dirent *e;
    (void)p;
    (void)off;
    (void)flags;
    PASS(name(META));
    rewinddir(d);
    while ((e = readdir(d))) {
        struct stat st = {.st_ino = e->d_ino, .st_mode = (mode_t)e->d_type << 12};
        if (fill(buf, e->d_name, &st, 0, 0))
            break;
    }
    return 0;
}
static int f_releasedir(const char *p, struct fuse_file_info *fi)
{
    (void)p;
    return ret(closedir((DIR *)(uintptr_t)fi->fh));
}

static const struct fuse_operations ops = {
    .init = f_init,           .getattr = f_getattr,     .access = f_access,   .readlink = f_readlink,
    .statfs = f_statfs,       .mkdir = f_mkdir,         .symlink = f_symlink, .link = f_link,
    .rename = f_rename,       .unlink = f_unlink,       .rmdir = f_rmdir,     .chmod = f_chmod,
    .chown = f_chown,         .utimens = f_utimens,     .truncate = f_truncate, .create = f_create,
    .open = f_open,           .read = f_read,           .write = f_write,     .fsync = f_fsync,
    .fallocate = f_fallocate, .flock = f_flock,         .release = f_release, .opendir = f_opendir,
    .readdir = f_readdir,     .releasedir = f_releasedir,
};

static const struct fuse_opt spec[] = {{"--max-threads=%d", offsetof(struct options, max_threads), 0}, FUSE_OPT_END};

static int keep(void *d, const char *arg, int key, struct fuse_args *out)
{
    (void)d;
    (void)out;
    if (key != FUSE_OPT_KEY_NONOPT || word_count >= 2)
        return 1;
    words[word_count++] = arg;
    return 0;
}

static void need(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
    char text[160];
    int fd;
    umask(0);
    if (fuse_opt_parse(&args, &opt, spec, keep) == -1 || word_count < 2) {
        fprintf(stderr, "usage: %s [-f] CONTROL SOURCE MOUNTPOINT [--max-threads=N]\n", argv[0]);
        return 2;
    }
    need((fd = open(words[0], O_RDWR | O_CLOEXEC)) != -1, words[0]);
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    need(control != MAP_FAILED, words[0]);
    need((root_fd = open(words[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC)) != -1, words[1]);
    /* The name says who mounted it and who serves it, so that what a killed run left can be told and removed. */
    snprintf(text, sizeof text, "-omax_threads=%d,max_idle_threads=%d,fsname=faultfs-%d-%d,default_permissions",
             opt.max_threads, opt.max_threads, (int)getppid(), (int)getpid());
    fuse_opt_add_arg(&args, text);
    return fuse_main(args.argc, args.argv, &ops, NULL);
}
