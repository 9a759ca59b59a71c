# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads the log of haven-probe (probe.c): what a client outside the nodes saw of the guest."""
import time
from dataclasses import dataclass


@dataclass
class Reply:
    sent: int
    received: int
    boot_id: str
    durable: int
    recovered: int
    memory_rounds: int
    memory_errors: int
    clock_errors: int
    write_errors: int
    monotonic: int
    realtime: int
    journal_epoch: int = 0
    journal_seq: int = 0
    journal_errors: int = 0
    tsc: int = 0

    @property
    def errors(self):
        """What the guest itself found wrong: memory pattern, clock steps, failed writes, another copy's records."""
        return self.memory_errors + self.clock_errors + self.write_errors + self.journal_errors


class ProbeLog:
    def __init__(self, path):
        self.path = path
        self.offset = 0
        self.replies = []
        self.tcp = []          # (time, event words)
        self.counts = []       # (time, last number)

    @staticmethod
    def now():
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def refresh(self):
        try:
            with open(self.path) as f:
                f.seek(self.offset)
                text = f.read()
        except OSError:
            return self
        end = text.rfind("\n") + 1
        self.offset += end
        for line in text[:end].splitlines():
            w = line.split()
            if w[0] == "R" and len(w) in (13, 16, 17):
                self.replies.append(Reply(int(w[1]), int(w[2]), w[4], *map(int, w[5:])))
            elif w[0] == "C":
                self.tcp.append((int(w[1]), w[2:]))
            elif w[0] == "N":
                self.counts.append((int(w[1]), int(w[2])))
        return self

    def last_reply(self):
        return self.replies[-1] if self.replies else None

    status = last_reply

    def last_status_before(self, t):
        return next(r for r in reversed(self.replies) if r.received <= t)

    def first_reply_of_new_boot(self, mark):
        old = self.last_status_before(mark).boot_id
        return next((r for r in self.replies if r.received > mark and r.boot_id != old), None)

    def steady(self, seconds):
        """Answers came without a gap of 100 ms up to this moment, for that long."""
        return self.steady_since(self.now() - int(seconds * 1e9), seconds)

    def steady_since(self, mark, seconds):
        begin = max(mark, self.now() - int(seconds * 1e9))
        recent = [r.received for r in self.replies[-int(seconds * 4000):] if r.received >= begin]
        if self.now() - mark < seconds * 1e9 * 0.99 or len(recent) < seconds * 100:
            return False
        times = [begin] + recent + [self.now()]
        return max(b - a for a, b in zip(times, times[1:])) < 150e6

    def longest_gap_ms(self, mark):
        """The longest time without an answer since mark, from the last answered probe's sending to the next answered one's."""
        sent = [r.sent for r in self.replies if r.received >= mark - 1_000_000_000]
        return round(max((b - a for a, b in zip(sent, sent[1:]) if b >= mark), default=0) / 1e6, 1)

    def tcp_survived(self, mark):
        """The connection was there at mark, neither lost nor missing a number since, and counted on."""
        if any(t >= mark for t, _ in self.tcp) or not any(w[0] == "connected" for _, w in self.tcp):
            return False
        return any(t > mark for t, _ in self.counts)
