// SPDX-License-Identifier: Apache-2.0
//! New blocks get their names (core's publish.py says why there are several ways). All or nothing: whatever goes wrong,
//! no file of this call stays, and publish.py does it once more and says what it was.

const std = @import("std");
const linux = std.os.linux;
const block = @import("block.zig");

/// strategies.py's, in its order.
pub const Way = enum(u32) { rename_fsync, link, exclusive, rename };

/// How files are made on this mount; the same layout as native.py's.
pub const Publishing = extern struct {
    way: Way,
    mode: u32,
    /// Whether the process's umask takes of the mode.
    sets_mode: bool,
    /// Whether what is on storage leaves the page cache.
    forgets: bool,
};

/// Publishes a block that is not there yet. `prefix` is what is before the key in its header. stored: 1 when it is.
pub fn publishOne(t: *const block.Transfer, p: *const Publishing, item: *const block.Item, stored: *std.atomic.Value(i64)) void {
    var aim: block.Aim = undefined;
    var one = aim.at(t, item) orelse return;
    if (publish(&one, p, item.scratchName() orelse return)) stored.store(1, .release);
}

/// Writes the row into a new file called `scratch`, and gives it its name.
fn publish(t: *block.Transfer, p: *const Publishing, scratch: [*:0]const u8) bool {
    // Creating under the final name finds out by itself; the other ways would replace a block that is there.
    if (p.way != .exclusive) {
        var found: linux.Statx = undefined;
        const looked = linux.statx(t.folder, t.name, linux.AT.SYMLINK_NOFOLLOW, .BASIC_STATS, &found);
        if (linux.errno(looked) != .NOENT) return false;
    }
    const new = if (p.way == .exclusive) t.name else scratch;
    const flags: linux.O = .{ .ACCMODE = .WRONLY, .CREAT = true, .EXCL = true, .CLOEXEC = true, .NOFOLLOW = true };
    const opened = linux.openat(t.folder, new, flags, p.mode);
    if (!succeeded(opened)) return false;
    t.fd = @intCast(opened);
    if (p.sets_mode) _ = linux.fchmod(t.fd, p.mode);
    const is_written = block.write(t) == .ok and isWanted(t);
    return switch (p.way) {
        .rename_fsync => {
            const is_named = is_written and rename(t, new);
            const is_synced = is_named and succeeded(linux.fsync(t.fd));
            if (is_synced and p.forgets) _ = linux.fadvise(t.fd, 0, 0, linux.POSIX_FADV.DONTNEED);
            _ = linux.close(t.fd);
            return is_synced or remove(t, if (is_named) t.name else new);
        },
        // Network filesystems tell of a full disk when a file is closed.
        .rename => (succeeded(linux.close(t.fd)) and is_written and rename(t, new)) or remove(t, new),
        .exclusive => (succeeded(linux.close(t.fd)) and is_written) or remove(t, new),
        .link => {
            const is_whole = succeeded(linux.close(t.fd)) and is_written;
            const is_named = is_whole and succeeded(linux.linkat(t.folder, new, t.folder, t.name, 0));
            _ = remove(t, new);
            return is_named;
        },
    };
}

/// All is written, perhaps late: it gets its name only when somebody waits for it still.
fn isWanted(t: *block.Transfer) bool {
    if (!t.gate.enter()) return false;
    t.gate.leave(0);
    return true;
}

fn rename(t: *const block.Transfer, from: [*:0]const u8) bool {
    return succeeded(linux.renameat(t.folder, from, t.folder, t.name));
}

/// Returns false, for what could not be published.
fn remove(t: *const block.Transfer, name: [*:0]const u8) bool {
    _ = linux.unlinkat(t.folder, name, 0);
    return false;
}

fn succeeded(result: usize) bool {
    return linux.errno(result) == .SUCCESS;
}
