# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads the log of haven-probe (probe.c): what a client outside the nodes saw of the guest."""
import bisect
import time
from dataclasses import dataclass

from hosttime import HOST

OUTAGE_NS = 150_000_000         # steady answers have no gap as long as that, besides what the host or the client stood still


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
        self.stood = []        # (from, to): the client itself stood still
        self.told = []         # (time, probes sent): all before has been told

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
            elif w[0] == "S":
                self.stood.append((int(w[1]), int(w[2])))
            elif w[0] == "T":
                self.told.append((int(w[1]), int(w[2])))
        return self

    def last_reply(self):
        return self.replies[-1] if self.replies else None

    status = last_reply

    def last_status_before(self, t):
        return next(r for r in reversed(self.replies) if r.received <= t)

    def first_reply_of_new_boot(self, mark):
        old = self.last_status_before(mark).boot_id
        return next((r for r in self.replies if r.received > mark and r.boot_id != old), None)

    def until(self):
        """The instant up to which the client has told what it saw, and it is known how the host ran."""
        HOST.refresh()
        return min(self.told[-1][0] if self.told else 0, HOST.known())

    def window(self, mark, seconds):
        """The last so many seconds of host time, none of them before mark: (begin, end), or None."""
        end, begin = self.until(), self.until() - int(seconds * 1e9)
        while begin > mark and (short := seconds - HOST.ran(begin, end)) > 0.001:
            begin -= int(short * 1e9)
        begin = max(begin, mark)
        return (begin, end) if end > begin and HOST.ran(begin, end) >= seconds * 0.99 else None

    def between(self, begin, end):
        """The replies that came in [begin, end], oldest first."""
        found = []
        for r in reversed(self.replies):
            if r.received < begin:
                break
            if r.received <= end:
                found.append(r)
        return found[::-1]

    def sent_by(self, t):
        i = bisect.bisect_right(self.told, (t, float("inf")))
        return self.told[i - 1][1] if i else 0

    def own(self, a, b):
        """How long the guest did not answer although host and client ran, of the ns from a to b."""
        return b - a - HOST.stalls(a, b, self.stood)

    def steady(self, seconds):
        """Answers have come without an outage of the guest's up to this moment, for that long a time in which the host ran."""
        return self.steady_since(0, seconds)

    def steady_since(self, mark, seconds):
        w = self.window(mark, seconds)
        if not w:
            return False
        replies = self.between(*w)
        if len(replies) < max(0.1 * (self.sent_by(w[1]) - self.sent_by(w[0])), 10 * seconds):
            return False
        times = [w[0]] + [r.received for r in replies] + [w[1]]
        return not any(b - a >= OUTAGE_NS and self.own(a, b) >= OUTAGE_NS for a, b in zip(times, times[1:]))

    def gaps(self, mark):
        """[(sent, next sent)] of answered probes one after the other, from the one before mark on."""
        sent = [r.sent for r in self.between(mark - 1_000_000_000, self.now())]
        return [(a, b) for a, b in zip(sent, sent[1:]) if b >= mark]

    def longest_gap_ms(self, mark):
        """The longest time since mark in which whatever was sent stayed unanswered; an answer that came late counts by when it was asked."""
        return round(max((b - a for a, b in self.gaps(mark)), default=0) / 1e6, 1)

    def longest_outage_ms(self, mark):
        """The same without what the host or the client stood still: what the guest has to answer for."""
        HOST.refresh()
        return round(max((self.own(a, b) if b - a > 20_000_000 else b - a for a, b in self.gaps(mark)), default=0) / 1e6, 1)

    def seen(self, mark):
        """What the client saw since mark, in words: gaps with what of them is the guest's own, its own longest stall, answers."""
        self.refresh()
        end = self.until()
        times = [mark] + [r.received for r in self.between(mark, end)] + [max(end, mark)]
        gaps = sorted(((b - a) / 1e6 for a, b in zip(times, times[1:])), reverse=True)[:6]
        own = sorted((self.own(a, b) / 1e6 for a, b in zip(times, times[1:]) if b - a > 20_000_000), reverse=True)[:6]
        stood = max(((b - a) / 1e6 for a, b in self.stood if b > mark), default=0)
        return (f"{len(times) - 2} answers to {self.sent_by(end) - self.sent_by(mark)} probes in {(end - mark) / 1e9:.1f} s, the last "
                f"{(end - times[-2]) / 1e6:.0f} ms before the end of that; gaps {', '.join(f'{g:.0f}' for g in gaps)} ms, less the host's and the "
                f"client's stalls {', '.join(f'{g:.0f}' for g in own) or 'none'} ms; the client's longest stall {stood:.0f} ms")

    def longest_silence_ms(self, mark):
        """The longest time since mark in which no answer arrived: what a client sees that waits for one."""
        return self.longest_between(mark, lambda a, b: b - a)

    def longest_own_silence_ms(self, mark):
        """The same without what the host or the client stood still: a machine whose processors are taken away for 35 ms makes no guest slower."""
        while HOST.known() < self.now() - 200_000_000 and HOST.running():
            time.sleep(0.05)
        return self.longest_between(mark, self.own)

    def longest_between(self, mark, measure):
        got = [r.received for r in self.replies if r.received >= mark - 1_000_000_000]
        return round(max((measure(a, b) for a, b in zip(got, got[1:]) if b >= mark), default=0) / 1e6, 1)

    def tcp_survived(self, mark):
        """The connection was there at mark, neither lost nor missing a number since, and counted on."""
        if any(t >= mark for t, _ in self.tcp) or not any(w[0] == "connected" for _, w in self.tcp):
            return False
        return any(t > mark for t, _ in self.counts)
