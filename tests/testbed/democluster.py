# SPDX-License-Identifier: GPL-2.0-or-later
"""Three nodes with the demo guest on an iSCSI LUN under Pacemaker: what quickstart and the cluster tests share."""
import json
import os
import re
import select
import subprocess
import time

import demo
from hosttime import HOST, Deadline, communicate, wall_limit
from probelog import ProbeLog
from testbed import Testbed, start_time, time_is_up


NO_JUDGEMENT = 75       # an exit status, sysexits.h's EX_TEMPFAIL: this machine stood still for so long that nodes had to take each other for dead


class Failed(Exception):
    """Something did not hold: the text names it, what was seen and where to look; since: from when on it was waited for, ns of CLOCK_MONOTONIC."""

    def __init__(self, text, since=None):
        super().__init__(text)
        self.since = since


class Wrong(Failed):
    """What no stall of a machine may bring about: lost data, memory that differs, a crash.  It is never looked at once more."""


class DemoCluster:
    def __init__(self, work, build, install, cache=None, testbed=None):
        """work: folder for logs; build: build tree with the test bed's programs; install: DESTDIR of make install."""
        self.work, self.build, self.install = work, build, install
        self.cache = cache or os.path.join(work, "cache")
        self.tb = Testbed(testbed or os.path.join(work, "testbed"))
        self.probe = None
        self.log = None
        self.said = ""                  # the last line of a command's progress
        self.kernel = None

    # -- nodes -------------------------------------------------------------------------------------------------------
    def watch_host(self):
        """From here on what is waited for is waited for in host time."""
        os.makedirs(self.work, exist_ok=True)
        HOST.start(os.path.join(self.build, "tests/testbed/haven-stalls"), os.path.join(self.work, "stalls.log"))

    def up(self, nodes=3, **kw):
        self.watch_host()
        self.tb.up(nodes, install=self.install, **kw)
        for n in self.tb.nodes:
            self.wait(f"{n}: Haven's daemons", lambda n=n: self.daemons_up(n), 20)
        self.sh("n1", "haven", "setup")

    def down(self):
        self.stop_probe()
        self.tb.down()

    def sh(self, node, *argv, check=True):
        return self.tb.sh(node, *argv, check=check)

    def background(self, node, out, *argv):
        """Starts a command on a node, its output into the file out."""
        return self.tb.popen(node, *argv, stdout=out)

    @staticmethod
    def ended(process, seconds):
        """The status of a command that was started on a node, waited for so many seconds of host time; None: it goes on."""
        end = Deadline(seconds)
        while process.poll() is None and not end.passed():
            time.sleep(0.05)
        return process.poll()

    @staticmethod
    def output(process, seconds):
        """What a command that was started on a node says until its end; after so many seconds of host time it is ended, and its status is 124."""
        return communicate(process, seconds, lambda: time_is_up(process))

    def live_nodes(self):
        return [n for n in self.tb.nodes if self.tb.init_pid(n)]

    def daemons_up(self, node):
        return (self.tb.init_pid(node) and self.sh(node, "timeout", "5", "xl", "list", check=False).returncode == 0 and
                self.sh(node, "timeout", "5", "haven", "status", check=False).returncode == 0)

    def cluster_complete(self, node):
        r = self.sh(node, "timeout", "10", "crm_mon", "-1", "--output-as=xml", check=False)
        return r.stdout.count('online="true"') >= len(self.tb.nodes) and 'pending="true"' not in r.stdout

    def whole_again(self, timeout=60):
        """Every node is on, in the cluster, and its daemons answer."""
        self.wait("all nodes back", lambda: len(self.live_nodes()) == len(self.tb.nodes) and
                  self.cluster_complete(self.live_nodes()[0]) and all(self.daemons_up(n) for n in self.tb.nodes), timeout)

    def loads_known(self):
        """Pacemaker's controllers tell each other how loaded they are 30 s after they begin, and begin two actions a node at a time until they know."""
        def told(node):
            with open(os.path.join(self.tb.root(node), "var/log/pacemaker/pacemaker.log"), errors="replace") as f:
                return "New throttle mode" in f.read()
        self.wait("the controllers' first word on their loads", lambda: all(told(n) for n in self.tb.nodes), 60, 0.5)

    def wait(self, what, test, timeout, interval=0.1):
        """The first true value of test(); Failed after timeout seconds of host time."""
        end = Deadline(timeout)
        while True:
            last = end.passed()                 # what came about while the machine stood still is looked at once more
            value = test()
            if value:
                return value
            if last:
                raise Failed(f"{what}: not within {timeout} s; {self.evidence(end.begun)}", end.begun)
            time.sleep(interval)

    def evidence(self, since):
        """What a reader who has but one line of a failure needs: the machine, the client, the guest, how far a move is; since: ns of CLOCK_MONOTONIC."""
        words = [HOST.told(since)]
        try:
            if self.log:
                words.append("the client: " + self.log.seen(since))
            words.append(f"copies: {self.copies() or 'none'}")
            off = [n for n in self.tb.nodes if not self.tb.init_pid(n)]
            if off:
                words.append(f"power is off: {' '.join(off)}")
            with open(os.path.join(self.tb.t, "shared", "events")) as f:
                words.append("last events: " + ", ".join(f"{time.time() - float(t):.0f} s ago {what}" for t, _, what in
                                                         (line.strip().partition(" ") for line in f.readlines()[-4:])))
            if self.said:
                words.append(f"last progress: {self.said}")
        except Exception as e:              # the failure that is being told of counts, not this
            words.append(f"no more to be had: {e}")
        return "; ".join(words)

    def cluster_stalled(self, since, failure):
        """Why what failed here may be the host's doing: since then it stood still for so long at once that Corosync on one machine has to take another for
        dead, and a Corosync of these nodes says that it did.  None on a host that ran.  A test may do once more, twice at the most, what this was said of."""
        if isinstance(failure, Wrong):
            return None
        waited_since = getattr(failure, "since", None) or time.monotonic_ns()
        since, words = max(since, min(time.monotonic_ns() - 120_000_000_000, waited_since - 10_000_000_000)), []
        HOST.known()
        longest = HOST.longest(since, time.monotonic_ns())
        if longest < 0.8 * self.tb.state.get("token", 1000):
            return None
        for n in self.tb.nodes:
            log = os.path.join(self.tb.t, n, "upper/var/log/corosync/corosync.log")
            if os.path.exists(log):
                with open(log, errors="replace") as f:
                    late = re.findall(r"not scheduled \(@(\d+)\) for ([\d.]+) ms", f.read())
                words += [f"{n} {float(ms):.0f} ms" for at, ms in late if time.time() - int(at) / 1000 < (time.monotonic_ns() - since) / 1e9][-2:]
        return f"this machine stood still for {longest:.0f} ms at once, and with it Corosync: {', '.join(words)}" if words else None

    # -- the guest ---------------------------------------------------------------------------------------------------
    def make_guest(self, pattern_mib=96, memory=256, vcpus=2, luns=1, journal_mib=0):
        """journal_mib: a second disk of that size for the guest's journal (demo-guest.c)."""
        luns = 2 if journal_mib else luns
        vmlinuz, modules, self.kernel = demo.fetch_kernel(self.cache)
        initrd, disk = os.path.join(self.cache, "initrd"), os.path.join(self.cache, "disk.img")
        demo.make_initramfs(modules, initrd)
        demo.make_disk(os.path.join(self.build, "tests/testbed/demo-guest"), disk, pattern_mib,
                       journal="/dev/xvdb" if journal_mib else "")
        demo.export_lun(self.tb, disk, luns=luns, mib=journal_mib or 16)
        demo.install_on_nodes(self.tb, vmlinuz, initrd, demo.config(memory=memory, vcpus=vcpus, luns=luns))

    def start_probe(self):
        path = os.path.join(self.work, "probe.log")
        if os.path.exists(path):
            os.unlink(path)
        program = os.path.join(self.build, "tests/testbed/haven-probe")
        self.probe = subprocess.Popen(self.tb.client_argv(program, demo.GUEST_ADDRESS, path), stdin=subprocess.DEVNULL)
        with open(os.path.join(self.work, "probe.pid"), "w") as f:
            f.write(f"{self.probe.pid} {start_time(self.probe.pid)}")
        self.log = ProbeLog(path)

    def stop_probe(self):
        if self.probe and self.probe.poll() is None:
            self.probe.terminate()
            self.probe.wait()

    def start_guest(self, timeout=90):
        """Makes it a resource and waits for its first answer; seconds that took."""
        begun = time.monotonic()
        self.haven("n1", "setup", "demo", "/etc/xen/demo.cfg")
        self.wait("the guest's first answer", lambda: self.log.refresh().last_reply(), timeout)
        return round(time.monotonic() - begun, 2)

    def where(self):
        """The nodes on which xl lists the guest."""
        found = []
        for n in self.live_nodes():
            r = self.sh(n, "timeout", "10", "xl", "list", "demo", check=False)
            if r.returncode == 0 and re.search(r"^demo\s", r.stdout, re.M):
                found.append(n)
        return found

    def copies(self):
        """{node: copy state} of the guest, as `haven status --json` of each node's own hypervisord has it."""
        out = {}
        for n in self.live_nodes():
            r = self.sh(n, "timeout", "10", "xl", "list", "-l", "demo", check=False)
            if r.returncode == 0:
                m = re.search(r'"copy":\s*"([\w-]+)"', r.stdout)
                out[n] = m.group(1) if m else "?"
        return out

    def steady(self, what, seconds=1.0, timeout=20):
        begun = self.log.now()
        self.wait(f"steady answers {what}", lambda: self.log.refresh().until() >= begun and self.log.steady(seconds), timeout)

    def check_guest(self, before, what):
        """The guest is the one of before (a Reply), and its own checks found nothing."""
        self.wait(f"{what}: no thread of a guest's keeps the real-time priority of a move's pause", lambda: not self.realtime_threads(), 5)
        after = self.log.refresh().status()
        if after.boot_id != before.boot_id:
            raise Failed(f"{what}: the guest has booted again")
        if after.errors:
            raise Wrong(f"{what}: the guest's own checks found memory {after.memory_errors}, clock {after.clock_errors}, "
                         f"disk {after.write_errors} errors")

    def keep_logs(self, name=None):
        """The nodes' logs outlive the test bed when something failed; name: folder for those of one case."""
        dest = os.path.join(self.work, "logs", *([name] if name else []))
        os.makedirs(dest, exist_ok=True)
        os.system(f"cp {self.tb.t}/shared/events {dest}/ 2>/dev/null")
        for n in self.tb.nodes:
            src, out = os.path.join(self.tb.t, n, "upper/var/log"), os.path.join(dest, n)
            os.makedirs(out, exist_ok=True)
            if self.tb.state.get("init") == "systemd" and self.tb.init_pid(n):
                with open(os.path.join(out, "journal"), "w") as f:
                    f.write(self.sh(n, "journalctl", "--no-pager", "-o", "short-precise", check=False).stdout)
            os.system(f"cp -r {src}/haven {src}/xen {src}/pacemaker {src}/corosync {out}/ 2>/dev/null")
            if name and self.tb.init_pid(n):
                os.system(f"cp {self.tb.root(n)}/run/haven/*.json {out}/ 2>/dev/null")
                with open(os.path.join(out, "now"), "w") as f:
                    for argv in (["xl", "list", "-l"], ["haven", "status"], ["crm_mon", "-1rf"], ["ps", "axf"]):
                        f.write(f"$ {' '.join(argv)}\n{self.sh(n, 'timeout', '10', *argv, check=False).stdout}\n")

    def realtime_threads(self):
        """Threads of guests' processes that have real-time priority: PID/TID."""
        found = []
        for folder, _, _ in os.walk(self.tb.cgroup):
            for pid in self.tb.pids_in(folder):
                try:
                    with open(f"/proc/{pid}/comm") as f:
                        if f.read().startswith("haven-hv-"):
                            found += [f"{pid}/{t}" for t in os.listdir(f"/proc/{pid}/task") if os.sched_getscheduler(int(t)) & ~os.SCHED_RESET_ON_FORK]
                except OSError:
                    pass                # it has ended
        return found

    # -- commands ----------------------------------------------------------------------------------------------------
    def haven(self, node, *argv, stream=False, timeout=120):
        """Runs `haven ...` on a node; with stream, its progress lines are shown as they come."""
        begun = time.monotonic_ns()
        p = self.tb.popen(node, "timeout", str(timeout), "haven", *argv, stdout=subprocess.PIPE, text=True)
        out = []
        for line in p.stdout:
            out.append(line)
            self.said = line.strip() if not line.startswith("{") else self.said
            if stream and line.strip() and not line.startswith("{"):
                print("            " + line.rstrip(), flush=True)
        if p.wait() and self.preflight_starved("".join(out), begun):
            return self.haven(node, *argv, stream=stream, timeout=timeout)
        if p.returncode:
            raise Failed(f"haven {' '.join(argv)} on {node}: status {p.returncode}: {''.join(out).strip()}; {self.evidence(begun)}", begun)
        return "".join(out)

    @staticmethod
    def preflight_starved(said, begun):
        """A pre-flight refuses what has not answered it within 0.7 s, and has changed nothing: for once more, where this machine took half of them away."""
        HOST.known()
        return "no answer within 0.7 s" in said and HOST.longest(begun, time.monotonic_ns()) >= 350

    def command(self, node, *argv, timeout=100):
        """Runs it on a node, once more when its pre-flight was starved: its status and what it said."""
        while True:
            begun = time.monotonic_ns()
            r = self.sh(node, "timeout", str(timeout), *argv, check=False)
            if not r.returncode or not self.preflight_starved(r.stdout, begun):
                return r

    def migrate(self, target, stream=False):
        """haven migrate demo TARGET; the figures it prints."""
        node = self.live_nodes()[0]
        return self.last_json(self.haven(node, "migrate", "demo", target, "--json", stream=stream))

    @staticmethod
    def last_json(text):
        lines = [line for line in text.splitlines() if line.startswith("{")]
        if not lines:
            raise Failed(f"no figures in: {text!r}")
        return json.loads(lines[-1])

    def fenced(self, victim):
        for n in self.live_nodes():
            if n != victim:
                r = self.sh(n, "timeout", "10", "stonith_admin", "--history", victim, check=False)
                if r.returncode == 0 and re.search(r"(was able to|reboot|off).*" + victim, r.stdout):
                    return True
        return False

    def console(self, node, command="cat /proc/uptime", expect=r"\d+\.\d+ \d+\.\d+", timeout=15):
        """Types a command on `xl console` until its output matches; the console's log and what was seen."""
        p = subprocess.Popen(self.tb.argv(node, "sh", "-c", f'echo "pid $$"; exec timeout {wall_limit(timeout + 5)} xl console demo'),
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.set_blocking(p.stdout.fileno(), False)
        first, live, end = "", "", Deadline(timeout)
        try:
            p.stdin.write(f"\n{command}\n".encode())
            p.stdin.flush()
            while not re.search(expect, live) and not end.passed() and p.poll() is None:
                select.select([p.stdout], [], [], 0.2)
                first += (p.stdout.read() or b"").decode(errors="replace")
                live = first.partition("\n")[2]
        except BrokenPipeError:
            pass
        finally:
            # in its node, not here: left alone it would read the answer to the next one's question
            if first.startswith("pid "):
                self.sh(node, "kill", first.split()[1], check=False)
            else:
                p.kill()
            p.wait()
        if not re.search(expect, live):
            raise Failed(f"xl console demo on {node} gives no answer within {timeout} s: {live[-300:]!r}; {self.evidence(end.begun)}")
        with open(os.path.join(self.tb.root(node), "var/log/xen/console/guest-demo.log"), errors="replace") as f:
            return f.read() + live
