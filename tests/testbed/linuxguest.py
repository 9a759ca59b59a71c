# SPDX-License-Identifier: GPL-2.0-or-later
"""A node alone with Linux guests on it: Haven's daemons in a run folder, xl, and a guest's console as a shell.

A test that imports this runs in a network and mount namespace of its own from own_namespaces() on.
"""
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "store")]
from daemon import BUILD, Failed, wait_for                                              # noqa: E402

CACHE = os.environ.get("HAVEN_CACHE") or "/tmp/haven-cache"
# what a kernel prints when something is wrong with it, or with the machine it runs on
TROUBLE = re.compile(r"^.*(?:BUG: |kernel BUG|\bWARNING: CPU|Oops|Call Trace|general protection fault|rcu:? .*stall|soft lockup|hung_task|"
                     r"blocked for more than|clocksource: .*unstable|Kernel panic|segfault at|traps: |Spurious).*$", re.M)


def own_namespaces(fetch):
    """fetch() brings what the test downloads: the namespaces have no way out."""
    if os.environ.get("IN_NS") != "1":
        fetch()
        os.environ["IN_NS"] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", sys.executable] + sys.argv)


def start_daemons(run):
    for name in ("xenstored", "xenconsoled", "hypervisord"):
        run.start(name, {"xenstored": "xenstored-admin.sock"}.get(name, name + ".sock"), 20)


def make_bridge(address="10.79.0.1/24"):
    subprocess.run(f"ip link set lo up; ip link add xenbr0 type bridge; ip addr add {address} dev xenbr0; ip link set xenbr0 up",
                   shell=True, check=True)


def xl(run, *args, rc=0, seconds=90):
    p = subprocess.run([os.path.join(BUILD, "xl"), *args], env=run.env, capture_output=True, text=True, timeout=seconds)
    if p.returncode != rc:
        raise Failed(f"xl {' '.join(args)}: exit {p.returncode}, wanted {rc}: {p.stdout}{p.stderr}")
    return p.stdout if rc == 0 else p.stderr


class Guest:
    """A domain by name; what it printed, and lines typed at its console."""

    def __init__(self, run, name):
        self.run, self.name, self.n = run, name, 0
        self.log = f"{run.dir}/console/guest-{name}.log"

    def text(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return f.read().replace("\r", "")
        except FileNotFoundError:
            return ""

    def record(self):
        """hypervisord's word on it, {} when it is gone."""
        return (self.run.call("hypervisord.sock", {"op": "list", "name": self.name}).get("domains") or [{}])[0]

    def dead(self):
        """Why it will print no more, or None."""
        d = self.record()
        return "it is gone" if not d else f"it has shut down, reason {d['shutdown_reason']}" if d.get("shutdown_reason", -1) > 0 else None

    def wait(self, pattern, seconds, begin=0):
        """The first match in what it printed from place BEGIN on."""
        pattern = re.compile(pattern, re.M)
        begun, n = time.monotonic(), 0
        while True:
            why = self.dead() if n % 20 == 19 else None
            m = pattern.search(self.text(), begin)
            if m:
                return m
            why = why or (time.monotonic() - begun > seconds and f"{seconds} s have passed")
            if why:
                raise Failed(f"{self.name}: {why}, and it has not printed {pattern.pattern}; its console ends: {self.text()[-1500:]}")
            time.sleep(0.05)
            n += 1

    def gone(self, seconds):
        wait_for(f"{self.name} to end", lambda: not self.record(), seconds)

    def type(self, text):
        domid = int(xl(self.run, "domid", self.name))
        tty = wait_for("a console", lambda: self.run.call("xenconsoled.sock", {"op": "path", "domid": domid}).get("path"))
        fd = os.open(tty, os.O_RDWR | os.O_NOCTTY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def begin(self, line):
        self.n += 1
        self.type(f"echo BEG''IN{self.n}; {line}; echo EN''D{self.n} $?\r")     # its echo is not what is looked for
        return self.n

    def end(self, n, seconds):
        """What the line printed; an error when its status is not 0."""
        m = self.wait(rf"BEGIN{n}\n((?s:.*?))END{n} (\d+)$", seconds)
        if m.group(2) != "0":
            raise Failed(f"{self.name}: status {m.group(2)}: {m.group(1)[-1500:]}")
        return m.group(1)

    def __call__(self, line, seconds=60):
        return self.end(self.begin(line), seconds)

    def trouble(self):
        found = TROUBLE.findall(self.text())
        if found:
            raise Failed(f"{self.name}'s kernel complains: " + " / ".join(found[:8]))
