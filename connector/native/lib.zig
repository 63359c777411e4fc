// SPDX-License-Identifier: Apache-2.0
//! What Python calls (blocks/native.py), each without the interpreter lock. Bounds are checked in what is shipped, too:
//! a fault of this code ends the process and never writes somewhere else.

const std = @import("std");
const builtin = @import("builtin");
const block = @import("block.zig");
const publishing = @import("publish.zig");
const Gate = @import("gate.zig").Gate;

pub const panic = std.debug.FullPanic(stop);

fn stop(message: []const u8, _: ?usize) noreturn {
    @branchHint(.cold);
    const begin = "llmd_storage_connector's native code: ";
    _ = std.os.linux.write(2, begin, begin.len);
    _ = std.os.linux.write(2, message.ptr, message.len);
    _ = std.os.linux.write(2, "\n", 1);
    @trap();
}

export fn llmd_transfer_bytes() usize {
    return @sizeOf(block.Transfer);
}

export fn llmd_item_bytes() usize {
    return @sizeOf(block.Item);
}

export fn llmd_publishing_bytes() usize {
    return @sizeOf(publishing.Publishing);
}

export fn llmd_gate_enter(gate: *Gate) bool {
    return gate.enter();
}

export fn llmd_gate_leave(gate: *Gate, copied: u64) void {
    gate.leave(copied);
}

export fn llmd_gate_close(gate: *Gate) u32 {
    return gate.close();
}

export fn llmd_read(transfer: *block.Transfer) i32 {
    return @intFromEnum(block.read(transfer));
}

export fn llmd_read_run(
    transfer: *const block.Transfer,
    items: [*]const block.Item,
    times: [*]std.atomic.Value(i64),
    count: u64,
) void {
    block.readRun(transfer, items[0..count], times[0..count]);
}

export fn llmd_read_stripes(transfer: *block.Transfer) i32 {
    return @intFromEnum(block.readStripes(transfer));
}

export fn llmd_write(transfer: *block.Transfer) i32 {
    return @intFromEnum(block.write(transfer));
}

export fn llmd_publish_run(
    transfer: *const block.Transfer,
    how: *const publishing.Publishing,
    items: [*]const block.Item,
    stored: [*]std.atomic.Value(i64),
    count: u64,
) void {
    publishing.publishRun(transfer, how, items[0..count], stored[0..count]);
}
