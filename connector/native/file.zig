// SPDX-License-Identifier: Apache-2.0
//! Whole ranges of a file, however the kernel cuts them. System calls only: the library needs no libc, so it runs
//! under every one.

const std = @import("std");
const linux = std.os.linux;

/// What came of a call: 0, or errno.
pub fn errnoOf(result: usize) i32 {
    return @intFromEnum(linux.errno(result));
}

/// Bytes read before the file ended: less than `target` has when it is too short. error.System: errno is in `failed`.
pub fn readAll(fd: i32, target: []u8, offset: u64, failed: *i32) error{System}!usize {
    var done: usize = 0;
    while (done < target.len) {
        const count = linux.pread(fd, target[done..].ptr, target.len - done, @intCast(offset + done));
        switch (linux.errno(count)) {
            .SUCCESS => {
                if (count == 0) return done;
                done += count;
            },
            .INTR => {},
            else => |number| {
                failed.* = @intFromEnum(number);
                return error.System;
            },
        }
    }
    return done;
}

/// From now on what is written to the file goes past the page cache. error.System: errno is in `failed`.
pub fn writePastCache(fd: i32, failed: *i32) error{System}!void {
    const flags: linux.O = .{ .ACCMODE = .WRONLY, .DIRECT = true };
    failed.* = errnoOf(linux.fcntl(fd, linux.F.SETFL, @as(u32, @bitCast(flags))));
    if (failed.* != 0) return error.System;
}

/// Writes these one after the other, from `offset` on. error.System: errno is in `failed`.
pub fn writeAll(fd: i32, first: []const u8, second: []const u8, offset: u64, failed: *i32) error{System}!void {
    const total = first.len + second.len;
    var done: usize = 0;
    while (done < total) {
        const of_first = @min(done, first.len);
        const of_second = done - of_first;
        const parts = [2]std.posix.iovec_const{
            .{ .base = first[of_first..].ptr, .len = first.len - of_first },
            .{ .base = second[of_second..].ptr, .len = second.len - of_second },
        };
        const count = linux.pwritev(fd, &parts, parts.len, @intCast(offset + done));
        switch (linux.errno(count)) {
            .SUCCESS => done += count,
            .INTR => {},
            else => |number| {
                failed.* = @intFromEnum(number);
                return error.System;
            },
        }
    }
}
