// SPDX-License-Identifier: Apache-2.0
//! Who may touch a job's rows: any number of threads at once, until the gate is closed; nobody after that.

const std = @import("std");

const CLOSED: u32 = 1 << 31;

/// Shared with Python, which allocates it zeroed and keeps it for as long as a thread may look at it.
pub const Gate = extern struct {
    /// Threads inside, and CLOSED.
    state: std.atomic.Value(u32),
    /// Orders of the job that a crew has.
    orders: std.atomic.Value(u32),
    /// Bytes that were copied into the rows.
    copied: std.atomic.Value(u64),
    /// When a crew began with the job: monotonic nanoseconds; 0: not yet.
    began: std.atomic.Value(i64),

    /// Whether the rows may be touched until leave().
    pub fn enter(self: *Gate) bool {
        var seen = self.state.load(.monotonic);
        while (seen & CLOSED == 0) {
            seen = self.state.cmpxchgWeak(seen, seen + 1, .acquire, .monotonic) orelse return true;
        }
        return false;
    }

    /// Ends what enter() began, in which so many bytes were copied into the rows.
    pub fn leave(self: *Gate, bytes: u64) void {
        _ = self.copied.fetchAdd(bytes, .monotonic);
        std.debug.assert(self.state.fetchSub(1, .release) & ~CLOSED != 0);
    }

    pub fn isClosed(self: *const Gate) bool {
        return self.state.load(.monotonic) & CLOSED != 0;
    }

    /// The first to begin with the job says when.
    pub fn begin(self: *Gate, time: i64) void {
        if (self.began.load(.monotonic) == 0) _ = self.began.cmpxchgStrong(0, time, .monotonic, .monotonic);
    }

    /// Nobody enters any more. Returns: how many are still inside; with none the rows are nobody's.
    pub fn close(self: *Gate) u32 {
        return self.state.fetchOr(CLOSED, .acq_rel) & ~CLOSED;
    }
};
