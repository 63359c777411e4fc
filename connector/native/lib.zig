// SPDX-License-Identifier: Apache-2.0
//! What Python calls (blocks/native.py), each without the interpreter lock. Bounds are checked in what is shipped, too:
//! a fault of this code ends the process and never writes somewhere else.

const std = @import("std");
const builtin = @import("builtin");
const block = @import("block.zig");
const publishing = @import("publish.zig");
const crew = @import("crew.zig");
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

export fn llmd_order_bytes() usize {
    return @sizeOf(crew.Order);
}

export fn llmd_gate_bytes() usize {
    return @sizeOf(Gate);
}

export fn llmd_mover_bytes() usize {
    return @sizeOf(crew.Mover);
}

/// Of what threads share of one block.
export fn llmd_shared_bytes(transfer: *const block.Transfer) usize {
    return block.Shared.size(transfer);
}

export fn llmd_crew_bytes() usize {
    return @sizeOf(crew.Crew);
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

export fn llmd_write(transfer: *block.Transfer) i32 {
    return @intFromEnum(block.write(transfer));
}

export fn llmd_crew_work(self: *crew.Crew, mover: *crew.Mover, is_done: bool) u64 {
    return self.work(mover, is_done);
}

export fn llmd_crew_add(self: *crew.Crew, orders: [*]const *crew.Order, count: u64, low: i64) void {
    self.add(orders[0..count], low);
}

export fn llmd_crew_wait(self: *crew.Crew, tokens: [*]u64, count: u64) u64 {
    return self.wait(tokens[0..count]);
}

export fn llmd_crew_tell(self: *crew.Crew) void {
    self.tell();
}

export fn llmd_crew_limit(self: *crew.Crew, writers: u32) void {
    self.limit(writers);
}

export fn llmd_crew_close(self: *crew.Crew) void {
    self.close();
}
