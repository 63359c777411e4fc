// SPDX-License-Identifier: Apache-2.0
//! Copying past the processor's caches. A row is not looked at until all of it is there, by when it has left them anyway;
//! and a cache that keeps it first fetches from memory what is about to be overwritten.

const std = @import("std");
const builtin = @import("builtin");

/// What the instructions below write at once; the target is aligned to it.
const LINE = 64;

/// @memcpy, of as many bytes as `target` has. Ensures: who sees anything that this thread writes later sees the copy.
pub fn past_caches(target: []u8, source: []const u8) void {
    const bytes = source[0..target.len];
    const before = @min(target.len, std.mem.alignForward(usize, @intFromPtr(target.ptr), LINE) - @intFromPtr(target.ptr));
    const lines = (target.len - before) / LINE * LINE;
    @memcpy(target[0..before], bytes[0..before]);
    stream(target[before..][0..lines], bytes[before..][0..lines]);
    @memcpy(target[before + lines ..], bytes[before + lines ..]);
}

/// Whole lines, into aligned ones.
fn stream(target: []u8, source: []const u8) void {
    switch (builtin.cpu.arch) {
        .x86_64 => {
            var at: usize = 0;
            while (at < target.len) : (at += LINE) {
                asm volatile (
                    \\ movdqu (%[from]), %%xmm0
                    \\ movdqu 16(%[from]), %%xmm1
                    \\ movdqu 32(%[from]), %%xmm2
                    \\ movdqu 48(%[from]), %%xmm3
                    \\ movntdq %%xmm0, (%[to])
                    \\ movntdq %%xmm1, 16(%[to])
                    \\ movntdq %%xmm2, 32(%[to])
                    \\ movntdq %%xmm3, 48(%[to])
                    :
                    : [from] "r" (source[at..][0..LINE]),
                      [to] "r" (target[at..][0..LINE]),
                    : .{ .xmm0 = true, .xmm1 = true, .xmm2 = true, .xmm3 = true, .memory = true });
            }
            // These stores may become visible late: not after what is stored next.
            asm volatile ("sfence" ::: .{ .memory = true });
        },
        .aarch64 => {
            var at: usize = 0;
            while (at < target.len) : (at += LINE) {
                asm volatile (
                    \\ ldp q0, q1, [%[from]]
                    \\ ldp q2, q3, [%[from], #32]
                    \\ stnp q0, q1, [%[to]]
                    \\ stnp q2, q3, [%[to], #32]
                    :
                    : [from] "r" (source[at..][0..LINE]),
                      [to] "r" (target[at..][0..LINE]),
                    : .{ .v0 = true, .v1 = true, .v2 = true, .v3 = true, .memory = true });
            }
            asm volatile ("dmb ishst" ::: .{ .memory = true });
        },
        else => @memcpy(target, source),
    }
}
