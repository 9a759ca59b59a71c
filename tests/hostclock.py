# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits in host time (testbed/hosttime.py) for the tests of single programs.

    clock = Clock(); ...; clock.took() < 2          comes(lambda: x.done, 5)          print(report())

The first of these starts the watcher of this process; one that forked begins anew.  Without haven-stalls (make testbed-programs) host time is
wall time."""
import atexit
import os
import sys
import tempfile
import time

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(TOP, "tests/testbed"))
import hosttime  # noqa: E402

KNOWN_S = 5                            # the watcher tells of each moment within a tenth of a second after it, of one that it stood still in as it wakes
_of = None                             # the process whose watcher it is


def watch():
    """The one of this process."""
    global _of
    if _of != os.getpid():
        if _of is not None:
            hosttime.HOST = hosttime.HostTime()
        _of = os.getpid()
        fd, path = tempfile.mkstemp(prefix="haven-stalls-")
        os.close(fd)
        build = os.environ.get("HAVEN_BUILD") or os.path.join(TOP, "build")
        hosttime.HOST.start(os.path.join(build, "tests/testbed/haven-stalls"), path)
        until = time.monotonic() + KNOWN_S
        while hosttime.HOST.process and not hosttime.HOST.processors and time.monotonic() < until:
            hosttime.HOST.refresh()
            time.sleep(0.005)
        hosttime.HOST.begun = time.monotonic_ns()
        atexit.register(end, path)
    return hosttime.HOST


def end(path=None):
    """At the end of the process, or before os._exit()."""
    if _of == os.getpid() and hosttime.HOST.process:
        hosttime.HOST.process.kill()
        hosttime.HOST.process.wait()
        path = path or hosttime.HOST.path
    if path and os.path.exists(path):
        os.unlink(path)


class Clock:
    def __init__(self):
        self.host, self.begun = watch(), time.monotonic_ns()

    def took(self):
        """Seconds of host time since then."""
        now, end_ns = time.monotonic_ns(), time.monotonic_ns() + KNOWN_S * 10**9
        while self.host.known() < now and time.monotonic_ns() < end_ns:
            time.sleep(0.01)
        return self.host.ran(self.begun, now)

    def wall(self):
        return (time.monotonic_ns() - self.begun) / 1e9

    def lost(self):
        """Seconds in which this machine stood still."""
        return max(0.0, self.wall() - self.took())


def comes(cond, seconds, step=0.01):
    """cond()'s value once it is true, within so many seconds of host time; else its last."""
    watch()
    limit = hosttime.Deadline(seconds)
    while True:
        late = limit.passed()                           # looked at once more after the last moment
        v = cond()
        if v or late:
            return v
        time.sleep(step)


def report():
    """The host, in a line, for the end of a failed test's log."""
    host = watch()
    return "host: " + host.told(host.begun)
