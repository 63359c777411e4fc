// SPDX-License-Identifier: Apache-2.0
//! One block between its file and its row (docs/FORMAT.md). It accepts or refuses; the words for why come from
//! format.py, which looks at the same header and checksums again.
//!
//! Nothing that a file says is used as a length or an offset: all of those are the reader's own.

const std = @import("std");
const linux = std.os.linux;
const copy = @import("copy.zig");
const file = @import("file.zig");
const Gate = @import("gate.zig").Gate;
const XxHash3 = std.hash.XxHash3;

const STRIPES_AT = 256;
const MAX_KEY_BYTES = 128;
const SCRATCH_BYTES = 40;
const SUFFIX = ".kvb";
const CHECKSUM_BYTES = 8;
/// format.py's.
const ALIGNMENT = 4096;
/// What is hashed and then copied: it stays in a processor's own cache in between.
const PIECE_BYTES = 128 * 1024;

pub const Status = enum(i32) {
    ok = 0,
    /// The call's own arguments contradict each other: a bug of the caller.
    invalid,
    open_failed,
    stat_failed,
    /// The file is not one that may be a block: its stat fields say why.
    not_ours,
    read_failed,
    /// The file ended at `ends_at`.
    short,
    /// The gate is closed: nobody wants the block any more.
    cancelled,
    /// Header or checksums are not the block's; both are in the buffer and in `sums`.
    mismatch,
    write_failed,
};

/// One call's arguments and results; the same layout as native.py's. Counts are in bytes unless they say otherwise.
pub const Transfer = extern struct {
    payload_bytes: u64,
    stripe_bytes: u64,
    header_bytes: u64,
    /// A header, and a stripe behind it.
    buffer: [*]u8,
    buffer_bytes: u64,
    row: [*]u8,
    row_bytes: u64,
    /// The header's fields and key, as they have to be.
    prefix: [*]const u8,
    prefix_bytes: u64,
    /// One checksum a stripe, of the bytes as read or written.
    sums: [*]u64,
    stripes: u64,
    first_stripe: u64,
    stripe_count: u64,
    gate: *Gate,
    name: [*:0]const u8,
    folder: i32,
    flags: u32,
    fd: i32,
    group: u32,
    owner: u32,
    other_owner: u32,

    errno: i32 = 0,
    mode: u32 = 0,
    uid: u32 = 0,
    gid: u32 = 0,
    size: u64 = 0,
    ends_at: u64 = 0,
    mtime_s: i64 = 0,
    mtime_ns: u32 = 0,
    /// Whether the row is written past the page cache, if it begins on a page.
    writes_past_cache: u32 = 0,

    fn isValid(self: *const Transfer) bool {
        if (self.payload_bytes == 0 or self.stripe_bytes == 0) return false;
        if (self.stripes != (self.payload_bytes - 1) / self.stripe_bytes + 1) return false;
        const header_needs = STRIPES_AT + CHECKSUM_BYTES * (self.stripes + 1);
        return self.header_bytes >= header_needs and self.prefix_bytes <= STRIPES_AT and
            self.buffer_bytes >= self.header_bytes + @min(self.stripe_bytes, self.payload_bytes) and
            self.row_bytes >= self.payload_bytes and
            self.first_stripe <= self.stripes and self.stripe_count <= self.stripes - self.first_stripe;
    }

    fn sumsOf(self: *const Transfer) []u64 {
        return self.sums[0..self.stripes];
    }

    fn header(self: *const Transfer) []u8 {
        return self.buffer[0..self.header_bytes];
    }

    fn stripeLength(self: *const Transfer, index: u64) u64 {
        return @min(self.stripe_bytes, self.payload_bytes - index * self.stripe_bytes);
    }

    fn stripeOfRow(self: *const Transfer, index: u64) []u8 {
        return self.row[0..self.row_bytes][index * self.stripe_bytes ..][0..self.stripeLength(index)];
    }
};

/// A block of a run; the same layout as native.py's.
pub const Item = extern struct {
    row: [*]u8,
    folder: i32,
    key_bytes: u32,
    key: [MAX_KEY_BYTES]u8,
    /// What its file is called while it is written, and zeros.
    scratch: [SCRATCH_BYTES]u8,

    pub fn scratchName(self: *const Item) ?[*:0]const u8 {
        const end = std.mem.indexOfScalar(u8, &self.scratch, 0) orelse return null;
        return if (end == 0) null else self.scratch[0..end :0];
    }
};

/// What is different for each block of a run.
pub const Aim = struct {
    name: [2 * MAX_KEY_BYTES + SUFFIX.len + 1]u8,
    prefix: [STRIPES_AT]u8,

    /// The transfer of one, which refers to what is kept here; null for a key that no block has.
    pub fn at(self: *Aim, t: *const Transfer, item: *const Item) ?Transfer {
        const fields = t.prefix_bytes;
        if (item.key_bytes > MAX_KEY_BYTES or fields > STRIPES_AT or item.key_bytes > STRIPES_AT - fields) return null;
        const key = item.key[0..item.key_bytes];
        @memcpy(self.prefix[0..fields], t.prefix[0..fields]);
        @memcpy(self.prefix[fields..][0..key.len], key);
        // layout.py's name.
        for (key, 0..) |byte, index| self.name[2 * index ..][0..2].* = std.fmt.hex(byte);
        self.name[2 * key.len ..][0 .. SUFFIX.len + 1].* = (SUFFIX ++ "\x00").*;
        var one = t.*;
        one.row, one.folder = .{ item.row, item.folder };
        one.name = self.name[0 .. 2 * key.len + SUFFIX.len :0];
        one.prefix, one.prefix_bytes = .{ &self.prefix, fields + key.len };
        return one;
    }
};

pub fn checksum(bytes: []const u8) u64 {
    return XxHash3.hash(0, bytes);
}

/// Opens the block's file, reads it into the row, and accepts or refuses it.
pub fn read(t: *Transfer) Status {
    if (t.stripe_count != t.stripes) return .invalid;
    const status = openAndRead(t);
    if (status != .ok) return status;
    return if (isTheBlock(t)) .ok else .mismatch;
}

/// Opens the block's file, and reads its stripes as readStripes() does.
fn openAndRead(t: *Transfer) Status {
    if (!t.isValid()) return .invalid;
    const opened = linux.openat(t.folder, t.name, @bitCast(t.flags), 0);
    t.errno = file.errnoOf(opened);
    if (t.errno != 0) return .open_failed;
    t.fd = @intCast(opened);
    defer _ = linux.close(t.fd);
    // Opening has just asked storage what kind of file it is, so nobody has to ask again unless that is not as it should
    // be: some filesystems remember longer than others.
    var refused = look(t, linux.AT.STATX_DONT_SYNC);
    if (refused != .ok) refused = look(t, linux.AT.STATX_SYNC_AS_STAT);
    return if (refused == .ok) readStripes(t) else refused;
}

/// Reads a block as read() does. `prefix` is what is before the key in its header. time: where it is accepted, when it
/// was last changed: seconds, and never 0.
pub fn readOne(t: *const Transfer, item: *const Item, time: *std.atomic.Value(i64)) void {
    var aim: Aim = undefined;
    var one = aim.at(t, item) orelse return;
    if (read(&one) == .ok) time.store(@max(one.mtime_s, 1), .release);
}

/// What the threads that read one block together know of it: this, and behind it the checksums, one a stripe, and the
/// header. Python allocates it zeroed but for `left`.
pub const Shared = extern struct {
    /// Parts that are not over.
    left: std.atomic.Value(u32),
    is_failed: std.atomic.Value(bool),

    fn sums(self: *Shared) [*]u64 {
        return @ptrFromInt(@intFromPtr(self) + SHARED_BYTES);
    }

    fn header(self: *Shared, t: *const Transfer) [*]u8 {
        return @ptrFromInt(@intFromPtr(self) + SHARED_BYTES + CHECKSUM_BYTES * t.stripes);
    }

    /// Bytes of all of it.
    pub fn size(t: *const Transfer) u64 {
        return SHARED_BYTES + CHECKSUM_BYTES * t.stripes + t.header_bytes;
    }
};
const SHARED_BYTES = 16;

/// Reads the part `part` of `parts` of a block, through a file of its own: whoever ends the last one accepts or refuses
/// it. Returns: whether nothing is wrong, as far as that is known.
pub fn readPart(
    t: *const Transfer,
    item: *const Item,
    time: *std.atomic.Value(i64),
    shared: *Shared,
    part: u64,
    parts: u64,
) bool {
    var aim: Aim = undefined;
    var one = aim.at(t, item) orelse return false;
    const each = (t.stripes + parts - 1) / parts;
    one.first_stripe = part * each;
    one.stripe_count = @min(each, t.stripes -| one.first_stripe);
    one.sums = shared.sums();
    if (shared.is_failed.load(.monotonic) or openAndRead(&one) != .ok) {
        shared.is_failed.store(true, .monotonic);
    } else if (part == 0) {
        @memcpy(shared.header(t)[0..t.header_bytes], one.header());
    }
    if (shared.left.fetchSub(1, .acq_rel) > 1) return true;
    one.buffer = shared.header(t);
    if (shared.is_failed.load(.monotonic) or !isTheBlock(&one)) return false;
    time.store(@max(one.mtime_s, 1), .release);
    return true;
}

/// Reads some stripes of an open file into the row; the first one with the header, into the buffer. Checks nothing.
fn readStripes(t: *Transfer) Status {
    for (t.first_stripe..t.first_stripe + t.stripe_count) |index| {
        const status = readStripe(t, index);
        if (status != .ok) return status;
    }
    return .ok;
}

/// Writes the row and its header into an open, empty file: the first stripe last, together with the header that says
/// what all of them hash to.
pub fn write(t: *Transfer) Status {
    if (!t.isValid()) return .invalid;
    if (t.writes_past_cache != 0 and @intFromPtr(t.row) % ALIGNMENT == 0) {
        file.writePastCache(t.fd, &t.errno) catch return .write_failed;
    }
    for (1..t.stripes + 1) |after| {
        const index = after % t.stripes;
        const stripe = t.stripeOfRow(index);
        // Taken while the row surely is the block's. It may be another's by the time the kernel reads it, when the job
        // was cancelled while a write hung: what is written then does not match.
        if (!t.gate.enter()) return .cancelled;
        t.sumsOf()[index] = checksum(stripe);
        t.gate.leave(0);
        const head: []const u8 = if (index == 0) makeHeader(t) else &.{};
        const at = if (index == 0) 0 else t.header_bytes + index * t.stripe_bytes;
        file.writeAll(t.fd, head, stripe, at, &t.errno) catch return .write_failed;
    }
    return .ok;
}

fn look(t: *Transfer, sync: u32) Status {
    var found: linux.Statx = undefined;
    t.errno = file.errnoOf(linux.statx(t.fd, "", linux.AT.EMPTY_PATH | sync, .BASIC_STATS, &found));
    if (t.errno != 0) return .stat_failed;
    t.mode, t.uid, t.gid, t.size = .{ found.mode, found.uid, found.gid, found.size };
    t.mtime_s, t.mtime_ns = .{ found.mtime.sec, found.mtime.nsec };
    const is_ours = t.uid == t.owner or t.uid == t.other_owner or t.gid == t.group;
    const is_file = t.mode & linux.S.IFMT == linux.S.IFREG;
    return if (is_file and is_ours and t.size == t.header_bytes + t.payload_bytes) .ok else .not_ours;
}

fn readStripe(t: *Transfer, index: u64) Status {
    const head = if (index == 0) t.header_bytes else 0;
    const bytes = t.buffer[0..t.buffer_bytes][t.header_bytes - head ..][0 .. head + t.stripeLength(index)];
    const offset = t.header_bytes + index * t.stripe_bytes - head;
    const target = t.stripeOfRow(index);
    const count = file.readAll(t.fd, bytes, offset, &t.errno) catch return .read_failed;
    if (count < bytes.len) {
        t.ends_at = offset + count;
        return .short;
    }
    var hash = XxHash3.init(0);
    var copied: usize = 0;
    while (copied < target.len) {
        const piece = bytes[head + copied .. @min(bytes.len, head + copied + PIECE_BYTES)];
        hash.update(piece);
        // What was read late never lands in a row that was given away: here it is asked whether it was.
        if (!t.gate.enter()) return .cancelled;
        copy.past_caches(target[copied..][0..piece.len], piece);
        t.gate.leave(piece.len);
        copied += piece.len;
    }
    t.sumsOf()[index] = hash.final();
    return .ok;
}

fn isTheBlock(t: *const Transfer) bool {
    const header = t.header();
    const end = header.len - CHECKSUM_BYTES;
    if (!std.mem.eql(u8, header[0..t.prefix_bytes], t.prefix[0..t.prefix_bytes])) return false;
    if (checksum(header[0..end]) != std.mem.readInt(u64, header[end..][0..CHECKSUM_BYTES], .little)) return false;
    for (t.sumsOf(), 0..) |sum, index| {
        const at = STRIPES_AT + CHECKSUM_BYTES * index;
        if (sum != std.mem.readInt(u64, header[at..][0..CHECKSUM_BYTES], .little)) return false;
    }
    return true;
}

fn makeHeader(t: *Transfer) []const u8 {
    const header = t.header();
    @memset(header, 0);
    @memcpy(header[0..t.prefix_bytes], t.prefix[0..t.prefix_bytes]);
    for (t.sumsOf(), 0..) |sum, index| {
        const at = STRIPES_AT + CHECKSUM_BYTES * index;
        std.mem.writeInt(u64, header[at..][0..CHECKSUM_BYTES], sum, .little);
    }
    const end = header.len - CHECKSUM_BYTES;
    std.mem.writeInt(u64, header[end..][0..CHECKSUM_BYTES], checksum(header[0..end]), .little);
    return header;
}
