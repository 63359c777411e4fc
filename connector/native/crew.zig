// SPDX-License-Identifier: Apache-2.0
//! Threads that move blocks, and wait for more, without Python. An order is many blocks, which they take one by one;
//! one that does not go well goes to Python in the thread that had it, and stops its order until Python says how it went.

const std = @import("std");
const linux = std.os.linux;
const block = @import("block.zig");
const publishing = @import("publish.zig");
const Gate = @import("gate.zig").Gate;

/// What movers are to do; the same layout as native_layout.py's. Python keeps it until it hears of its token.
/// What a crew's mutex guards is marked with *.
pub const Order = extern struct {
    /// *
    next: ?*Order = null,
    /// How Python knows it; never 0.
    token: u64,
    is_store: bool,
    /// * Whether no more of its blocks are to be taken, as one failed.
    is_stopped: bool = false,
    /// Blocks, and in how many parts each of them is read.
    count: u64,
    parts: u64,
    /// * How many parts were taken, and of them are being moved.
    taken: u64 = 0,
    active: u64 = 0,
    /// null: Python moves them.
    items: ?[*]const block.Item,
    /// Of each block, where it has several parts.
    shared: [*]u8,
    /// Of each block that was moved; 0 of the others.
    times: [*]std.atomic.Value(i64),
    how: publishing.Publishing,
    /// But for the buffer, which is the thread's.
    transfer: block.Transfer,

    fn gate(self: *const Order) *Gate {
        return self.transfer.gate;
    }

    fn total(self: *const Order) u64 {
        return self.count * self.parts;
    }

    /// Moves a part. Returns: whether its block is moved, or will be, as far as that is known.
    fn carryOut(self: *const Order, part: u64, mover: *const Mover) bool {
        if (self.gate().isClosed()) return false;
        self.gate().begin(now());
        const items = self.items orelse return false;
        var mine = self.transfer;
        mine.buffer, mine.buffer_bytes, mine.sums = .{ mover.buffer, mover.buffer_bytes, mover.sums };
        const index = part / self.parts;
        const item, const time = .{ &items[0..self.count][index], &self.times[0..self.count][index] };
        if (self.parts > 1) {
            const shared: *block.Shared = @ptrCast(@alignCast(self.shared[index * block.Shared.size(&mine) ..]));
            return block.readPart(&mine, item, time, shared, part % self.parts, self.parts);
        }
        if (self.is_store) publishing.publishOne(&mine, &self.how, item, time) else block.readOne(&mine, item, time);
        return time.load(.acquire) != 0;
    }
};

/// A thread's own; the same layout as native_layout.py's.
pub const Mover = extern struct {
    buffer: [*]u8,
    buffer_bytes: u64,
    sums: [*]u64,
    /// Of which Python has a block; `index`: which part of it was tried last.
    order: ?*Order = null,
    index: u64 = 0,
};

const List = extern struct {
    first: ?*Order,
    last: ?*Order,

    fn append(self: *List, order: *Order) void {
        order.next = null;
        if (self.last) |last| last.next = order else self.first = order;
        self.last = order;
    }

    fn prepend(self: *List, order: *Order) void {
        order.next = self.first;
        self.first = order;
        if (self.last == null) self.last = order;
    }

    fn pop(self: *List) void {
        const first = self.first orelse return;
        self.first = first.next;
        if (self.first == null) self.last = null;
    }

    fn remove(self: *List, order: *Order) void {
        if (self.first == order) return self.pop();
        var at = self.first;
        while (at) |one| : (at = one.next) {
            if (one.next != order) continue;
            one.next = order.next;
            if (self.last == order) self.last = one;
            return;
        }
    }

    /// Whether another job than the first order's waits, too.
    fn hasOthers(self: *const List) bool {
        const first = self.first orelse return false;
        var at = first.next;
        while (at) |one| : (at = one.next) {
            if (one.gate() != first.gate()) return true;
        }
        return false;
    }
};

/// Python allocates it zeroed, and keeps it for as long as a thread may look at it.
pub const Crew = extern struct {
    mutex: Mutex,
    /// Changed when there is something for movers, and when there is something for who leads them: both wait for that.
    calls: std.atomic.Value(u32),
    news: std.atomic.Value(u32),
    /// The news that were heard.
    heard: u32,
    is_closed: bool,
    idle: u32,
    /// How many store now, and may.
    storing: u32,
    writers: u32,
    /// Parts that nobody has taken; so few that it is news, negative: no number is.
    waiting: i64,
    low: i64,
    loads: List,
    stores: List,
    done: List,

    /// Moves blocks. Returns: the token of an order, of one of whose blocks, mover.index, Python is to say how it goes
    /// by the next call: `is_done` and `time`, or it is not. 0: it was closed, and nothing is left.
    pub fn work(self: *Crew, mover: *Mover, is_done: bool) u64 {
        if (mover.order) |order| self.settle(order, is_done);
        mover.order = null;
        while (self.take()) |one| {
            const is_moved = one.order.carryOut(one.index, mover);
            if (is_moved or (one.order.items != null and one.order.gate().isClosed())) {
                self.settle(one.order, is_moved);
                continue;
            }
            if (one.order.items != null) {
                self.mutex.lock();
                self.stop(one.order);
                self.mutex.unlock();
            }
            mover.order, mover.index = .{ one.order, one.index };
            return one.order.token;
        }
        return 0;
    }

    /// More to do: loads before stores.
    pub fn add(self: *Crew, orders: []const *Order, low: i64) void {
        self.mutex.lock();
        var blocks: u32 = 0;
        for (orders) |order| {
            self.listOf(order).append(order);
            _ = order.gate().orders.fetchAdd(1, .monotonic);
            blocks += @intCast(order.total());
        }
        self.waiting += blocks;
        self.low = low;
        const called = @min(self.idle, blocks);
        _ = self.calls.fetchAdd(1, .monotonic);
        self.mutex.unlock();
        wake(&self.calls, called);
    }

    /// Waits for news. Returns: how many tokens of orders that are over were put there.
    pub fn wait(self: *Crew, tokens: []u64) u64 {
        while (true) {
            self.mutex.lock();
            const news = self.news.load(.monotonic);
            if (news != self.heard) {
                self.heard = news;
                break;
            }
            self.mutex.unlock();
            sleep(&self.news, news);
        }
        defer self.mutex.unlock();
        for (tokens, 0..) |*token, count| {
            const order = self.done.first orelse return count;
            self.done.pop();
            token.* = order.token;
        }
        if (self.done.first != null) _ = self.news.fetchAdd(1, .monotonic);
        return tokens.len;
    }

    pub fn tell(self: *Crew) void {
        _ = self.news.fetchAdd(1, .monotonic);
        wake(&self.news, 1);
    }

    pub fn limit(self: *Crew, writers: u32) void {
        self.mutex.lock();
        const more = writers -| self.writers;
        self.writers = writers;
        if (more > 0) _ = self.calls.fetchAdd(1, .monotonic);
        self.mutex.unlock();
        wake(&self.calls, more);
    }

    /// Nobody waits any more; what is left is done first.
    pub fn close(self: *Crew) void {
        self.mutex.lock();
        self.is_closed = true;
        _ = self.calls.fetchAdd(1, .monotonic);
        self.mutex.unlock();
        wake(&self.calls, std.math.maxInt(i32));
        self.tell();
    }

    const Block = struct { order: *Order, index: u64 };

    fn take(self: *Crew) ?Block {
        self.mutex.lock();
        while (true) {
            if (self.next()) |one| {
                const is_news = self.waiting == self.low;
                self.mutex.unlock();
                if (is_news) self.tell();
                return one;
            }
            if (self.is_closed) {
                self.mutex.unlock();
                return null;
            }
            const calls = self.calls.load(.monotonic);
            self.idle += 1;
            self.mutex.unlock();
            sleep(&self.calls, calls);
            self.mutex.lock();
            self.idle -= 1;
        }
    }

    fn next(self: *Crew) ?Block {
        const may_store = self.storing < self.writers or self.is_closed;
        const order = self.loads.first orelse if (may_store) self.stores.first orelse return null else return null;
        const list = self.listOf(order);
        const index = order.taken;
        order.taken += 1;
        order.active += 1;
        self.waiting -= 1;
        if (order.is_store) self.storing += 1;
        if (order.taken == order.total()) {
            list.pop();
        } else if (!order.is_store and list.hasOthers()) {
            // Loads take turns. A prefix without a block in its middle is of no use, so stores do not.
            list.pop();
            list.append(order);
        }
        return .{ .order = order, .index = index };
    }

    fn listOf(self: *Crew, order: *const Order) *List {
        return if (order.is_store) &self.stores else &self.loads;
    }

    /// No more of the order's blocks are taken. Requires: the lock is held.
    fn stop(self: *Crew, order: *Order) void {
        const left = order.total() - order.taken;
        if (!order.is_stopped and left > 0) {
            self.listOf(order).remove(order);
            self.waiting -= @intCast(left);
        }
        order.is_stopped = true;
    }

    /// A block of the order is over. Where Python said that it is done, the others are taken again.
    fn settle(self: *Crew, order: *Order, is_done: bool) void {
        self.mutex.lock();
        order.active -= 1;
        if (order.is_store) self.storing -= 1;
        const left = order.total() - order.taken;
        var called: u64 = 0;
        if (!is_done) {
            self.stop(order);
        } else if (order.is_stopped and !order.gate().isClosed()) {
            order.is_stopped = false;
            if (left > 0) {
                self.listOf(order).prepend(order);
                self.waiting += @intCast(left);
                called = @min(self.idle, left);
            }
        }
        var is_news = false;
        if (order.active == 0 and (left == 0 or order.is_stopped)) {
            self.done.append(order);
            // Its job may be over, and the movers may soon have nothing to do.
            is_news = order.gate().orders.fetchSub(1, .monotonic) == 1 or self.waiting <= self.low;
        }
        if (called > 0) _ = self.calls.fetchAdd(1, .monotonic);
        self.mutex.unlock();
        wake(&self.calls, @intCast(called));
        if (is_news) self.tell();
    }
};

/// Held for a few instructions at a time. Zeroed, it is free.
const Mutex = extern struct {
    /// 0: free, 1: held, 2: held, and perhaps waited for.
    state: std.atomic.Value(u32),

    fn lock(self: *Mutex) void {
        if (self.state.cmpxchgStrong(0, 1, .acquire, .monotonic) == null) return;
        while (self.state.swap(2, .acquire) != 0) sleep(&self.state, 2);
    }

    fn unlock(self: *Mutex) void {
        if (self.state.swap(0, .release) == 2) wake(&self.state, 1);
    }
};

/// Until it is woken, or the word is not this any more.
fn sleep(word: *const std.atomic.Value(u32), expected: u32) void {
    _ = linux.futex_4arg(&word.raw, .{ .cmd = .WAIT, .private = true }, expected, null);
}

fn wake(word: *const std.atomic.Value(u32), count: u32) void {
    if (count > 0) _ = linux.futex_3arg(&word.raw, .{ .cmd = .WAKE, .private = true }, count);
}

/// Nanoseconds, as Python's time.monotonic_ns().
fn now() i64 {
    var time: linux.timespec = undefined;
    std.debug.assert(linux.errno(linux.clock_gettime(.MONOTONIC, &time)) == .SUCCESS);
    return time.sec * std.time.ns_per_s + time.nsec;
}
