# SPDX-License-Identifier: GPL-2.0-or-later
"""Host time: wall time without that in which this machine stood still, because a hypervisor or a quota had its processors.

A test says how long something may take on a machine that runs.  Counted in host time that stays as strict as it is there, and where the
machine is taken away it widens by what was measured (stalls.c), and by nothing else.  start() once a process; before it, host time is wall time."""
import atexit
import bisect
import os
import subprocess
import threading
import time

WALL_FACTOR, WALL_MORE = 10, 600        # a bound in host time ends in wall time, too: at ten times as much, but not more than ten minutes later


def wall_limit(seconds):
    """The most wall time that a bound of so many seconds of host time may become."""
    return min(seconds * WALL_FACTOR, seconds + WALL_MORE)


class Processor:
    """What haven-stalls tells of one: [until], [how long it stood still by then], and the stalls one by one."""

    def __init__(self):
        self.until, self.stood, self.seen = [], [], []
        self.stalls = []                # (from, to)

    def beat(self, until, late, steal):
        """Steal is told in hundredths of a second, so what lateness does not show is looked for over the second before."""
        self.seen.append((until, late, steal))
        while len(self.seen) > 2 and self.seen[1][0] <= until - 1_000_000_000:
            self.seen.pop(0)
        old = self.seen[0]
        stood = min(until - old[0], max(late - old[1], steal - old[2]))
        if self.until:
            stood = max(self.stood[-1], stood + self.stood[bisect.bisect_left(self.until, old[0])])
        self.until.append(until)
        self.stood.append(stood)

    def stood_by(self, t):
        """ns until t, between two beats in proportion; after the last one nothing is known, and nothing counted."""
        i = bisect.bisect_right(self.until, t)
        if i == 0 or i == len(self.until):
            return self.stood[i - 1] if i else (self.stood[0] if self.stood else 0)
        a, b = self.until[i - 1], self.until[i]
        return self.stood[i - 1] + (self.stood[i] - self.stood[i - 1]) * (t - a) / (b - a)


class HostTime:
    def __init__(self):
        self.process = self.path = None
        self.offset = 0
        self.processors = {}
        self.lock = threading.Lock()

    def start(self, program, path):
        """program: haven-stalls; path: its log."""
        if self.process or not os.path.exists(program):
            return
        open(path, "w").close()
        self.path = path
        self.process = subprocess.Popen([program, path], stdin=subprocess.DEVNULL)
        atexit.register(self.process.kill)

    def refresh(self):
        if not self.path:
            return
        with self.lock, open(self.path, encoding="ascii") as f:
            f.seek(self.offset)
            text = f.read()
            end = text.rfind("\n") + 1
            self.offset += end
            for line in text[:end].splitlines():
                what, cpu, *figures = line.split()
                p = self.processors.setdefault(cpu, Processor())
                if what == "B":
                    p.beat(*map(int, figures))
                else:
                    p.stalls.append(tuple(map(int, figures)))

    def running(self):
        return bool(self.processors) and self.process.poll() is None

    def known(self):
        """ns of CLOCK_MONOTONIC up to which it is known of every processor whether it ran."""
        self.refresh()
        return min(p.until[-1] if p.until else 0 for p in self.processors.values()) if self.running() else time.monotonic_ns()

    def ran(self, a, b):
        """Seconds of host time between two instants, ns of CLOCK_MONOTONIC; processors count by half where one of two stood still."""
        n = max(1, len(self.processors))
        stood = sum(p.stood_by(b) - p.stood_by(a) for p in self.processors.values())
        return max(0.0, (b - a - stood / n) / 1e9)

    def stalls(self, a, b, more=()):
        """ns within [a, b] in which any processor stood still, or the client whose own stalls are `more`: [(from, to)]."""
        lists = [p.stalls for p in self.processors.values()] + [more]
        cut = []
        for stalls in lists:
            i = bisect.bisect_left(stalls, (a, a)) if stalls else 0
            for s in stalls[max(0, i - 1):]:
                if s[0] >= b:
                    break
                if s[1] > a:
                    cut.append((max(a, s[0]), min(b, s[1])))
        total, end = 0, a
        for s in sorted(cut):
            total += max(0, s[1] - max(end, s[0]))
            end = max(end, s[1])
        return total

    def longest(self, a, b):
        """The longest stall of a processor that ended within [a, b], ms."""
        return max(((s[1] - s[0]) / 1e6 for p in self.processors.values() for s in p.stalls if a < s[1] <= b), default=0.0)

    def told(self, since):
        """What there is to say of the machine since then, in words."""
        now = self.known()
        wall = max(1e-3, (now - since) / 1e9)
        steal = 0
        for p in self.processors.values():
            if p.seen:
                i = bisect.bisect_left(p.until, since)
                steal += p.stood[-1] - p.stood[min(i, len(p.stood) - 1)]
        return (f"in {wall:.1f} s of wall time the host ran for {self.ran(since, now):.1f} s (its processors stood still for "
                f"{100 * steal / 1e9 / wall / max(1, len(self.processors)):.0f} %, the longest time {self.longest(since, now):.0f} ms), "
                f"steal since boot {steal_percent():.0f} %, load {os.getloadavg()[0]:.1f}")


def steal_percent():
    with open("/proc/stat", encoding="ascii") as f:
        figures = [int(x) for x in f.readline().split()[1:9]]
    return 100 * figures[7] / max(1, sum(figures))


HOST = HostTime()


class Deadline:
    """So many seconds of host time from now on."""

    def __init__(self, seconds):
        self.seconds, self.begun, self.wall = seconds, time.monotonic_ns(), wall_limit(seconds)

    def used(self):
        """Seconds of host time since its beginning, as far as they are known; behind it, wall time's bound."""
        known = HOST.known()
        if time.monotonic_ns() - self.begun > self.wall * 1e9:
            return self.seconds
        return HOST.ran(self.begun, known) if known > self.begun else 0.0

    def left(self):
        return max(0.0, self.seconds - self.used())

    def passed(self):
        return self.left() <= 0


def sleep(seconds):
    """For so long as the machine runs."""
    end = Deadline(seconds)
    while (left := end.left()) > 0:
        time.sleep(max(left, 0.01))


def communicate(process, seconds, expire):
    """process.communicate() with a bound in host time, at which expire() is called."""
    end = Deadline(seconds)
    while True:
        try:
            return process.communicate(timeout=max(end.left(), 0.05))[0]
        except subprocess.TimeoutExpired:
            if end.passed():
                expire()
                try:
                    return process.communicate(timeout=10)[0]
                except subprocess.TimeoutExpired:
                    process.kill()
                    return process.communicate()[0]
