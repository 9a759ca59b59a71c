#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The main job, step by step, with every figure of the report measured in this run.  Called by ./quickstart."""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time

import demo
from probelog import ProbeLog
from testbed import Testbed, start_time

T0 = time.monotonic()


def say(text):
    print(f"[{time.monotonic() - T0:6.1f} s] {text}", flush=True)


class Failed(Exception):
    """A step that did not hold: its text names the step, what was seen and where to look."""


class Quickstart:
    def __init__(self, work):
        self.work = work
        self.tb = Testbed(os.path.join(work, "testbed"))
        self.cache = os.path.join(work, "cache")
        self.probe = None
        self.log = None
        self.report = {"nodes": 3, "kernel": None, "boot_s": None, "migration": {}, "failover": {}, "drain": {}, "ok": False}

    # -- helpers ---------------------------------------------------------------------------------------------------
    def node_sh(self, node, *argv, check=True):
        return self.tb.sh(node, *argv, check=check)

    def live_nodes(self):
        return [n for n in self.tb.nodes if self.tb.init_pid(n)]

    def where(self):
        """The node on which the guest runs, by asking every node's hypervisord (through xl)."""
        found = []
        for n in self.live_nodes():
            r = self.node_sh(n, "timeout", "10", "xl", "list", "demo", check=False)
            if r.returncode == 0 and re.search(r"^demo\s", r.stdout, re.M):
                found.append(n)
        return found

    def wait(self, what, test, timeout):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            value = test()
            if value:
                return value
            time.sleep(0.1)
        raise Failed(f"{what}: not within {timeout} s")

    def haven(self, node, *argv, stream=False):
        """Runs `haven ...` on a node; with stream, its progress lines are shown as they come."""
        p = subprocess.Popen(self.tb.argv(node, "haven", *argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
        out = []
        for line in p.stdout:
            out.append(line)
            if stream and line.strip() and not line.startswith("{"):
                print("            " + line.rstrip(), flush=True)
        if p.wait():
            raise Failed(f"haven {' '.join(argv)} on {node}: status {p.returncode}: {''.join(out).strip()}")
        return "".join(out)

    # -- the steps ---------------------------------------------------------------------------------------------------
    def bring_up(self):
        say("1. bringing up nodes n1, n2, n3 and the storage node (namespaces, corosync, pacemaker, Haven's daemons)")
        self.tb.up(3, install=os.path.join(self.work, "install"))
        for n in self.tb.nodes:
            self.wait(f"{n}: Haven's daemons", lambda n=n: self.daemons_up(n), 20)
        self.node_sh("n1", "haven", "setup")
        say("   three nodes online, quorate, fencing configured")

    def daemons_up(self, node):
        return (self.node_sh(node, "timeout", "5", "xl", "list", check=False).returncode == 0 and
                self.node_sh(node, "timeout", "5", "haven", "status", check=False).returncode == 0)

    def make_guest(self):
        say("2. making the demo guest: Debian's cloud kernel, busybox, an ext4 root on an iSCSI LUN")
        vmlinuz, modules, release = demo.fetch_kernel(self.cache)
        self.report["kernel"] = release
        build = os.path.join(self.work, "build/tests/testbed")
        initrd, disk = os.path.join(self.cache, "initrd"), os.path.join(self.cache, "disk.img")
        demo.make_initramfs(modules, initrd)
        demo.make_disk(os.path.join(build, "demo-guest"), disk, pattern_mib=96)
        demo.export_lun(self.tb, disk)
        demo.install_on_nodes(self.tb, vmlinuz, initrd, demo.config())
        say(f"   kernel {release}; /etc/xen/demo.cfg on every node")

    def start_guest(self):
        say("3. adding it to Pacemaker as ocf:haven:DomU and waiting for it to answer")
        self.start_probe()
        begun = time.monotonic()
        self.haven("n1", "setup", "demo", "/etc/xen/demo.cfg")
        self.wait("the guest's first answer", lambda: self.log.refresh().last_reply(), 90)
        self.report["boot_s"] = round(time.monotonic() - begun, 2)
        node = self.wait("the guest in xl list", self.where, 10)[0]
        listing = self.node_sh(node, "xl", "list").stdout
        print("\n".join("            " + line for line in listing.strip().splitlines()))
        console = self.console_tail(node)
        if "demo guest is up" not in console:
            raise Failed(f"xl console on {node} does not show the guest's greeting: {console[-300:]!r}")
        say(f"   up on {node} after {self.report['boot_s']} s; its console: {self.greeting(console)}")

    @staticmethod
    def greeting(console):
        return next((line.strip() for line in console.splitlines() if "demo guest is up" in line), "")

    def console_tail(self, node):
        """What `xl console` shows: attaches, presses Return, reads for a second; the log holds what came before."""
        p = subprocess.Popen(self.tb.argv(node, "timeout", "2", "xl", "console", "demo"), stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            p.stdin.write(b"\ncat /proc/uptime\n")
            p.stdin.flush()
        except BrokenPipeError:
            pass
        try:
            live = p.communicate(timeout=8)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            p.kill()
            raise Failed(f"xl console demo on {node} hangs")
        if not re.search(r"\d+\.\d+ \d+\.\d+", live):
            raise Failed(f"xl console demo on {node} gives no answer: {live[-300:]!r}")
        with open(os.path.join(self.tb.root(node), "var/log/xen/console/guest-demo.log"), errors="replace") as f:
            return f.read() + live

    def start_probe(self):
        say("4. starting the client outside the nodes: a probe each millisecond, and a TCP connection that counts")
        path = os.path.join(self.work, "probe.log")
        program = os.path.join(self.work, "build/tests/testbed/haven-probe")
        self.probe = subprocess.Popen(self.tb.client_argv(program, demo.GUEST_ADDRESS, path), stdin=subprocess.DEVNULL)
        with open(os.path.join(self.work, "probe.pid"), "w") as f:
            f.write(f"{self.probe.pid} {start_time(self.probe.pid)}")
        self.log = ProbeLog(path)

    def move(self):
        source = self.where()[0]
        target = next(n for n in ("n2", "n1", "n3") if n != source)
        say(f"5. haven migrate demo {target}: moving it live from {source}")
        self.wait("a second of steady answers before the move", lambda: self.log.refresh().steady(1.0), 15)
        before, mark = self.log.status(), self.log.now()
        figures = json.loads(self.last_json(self.haven(source, "migrate", "demo", target, "--json", stream=True)))
        self.wait("steady answers after the move", lambda: self.log.refresh().steady_since(mark, 1.0), 15)
        after = self.log.status()
        if self.where() != [target]:
            raise Failed(f"after the move the guest is on {self.where()}, not on {target} alone")
        m = {k: figures[k] for k in ("total_ms", "rounds", "bytes_sent", "downtime_vcpu_ms", "tls")}
        m["downtime_network_ms"] = self.log.longest_gap_ms(mark)
        m["tcp_survived"] = self.log.tcp_survived(mark)
        m["boot_id_unchanged"] = before.boot_id == after.boot_id
        self.report["migration"] = m
        if not (m["tcp_survived"] and m["boot_id_unchanged"]) or after.errors:
            raise Failed(f"the move was noticed: {m}, guest's own checks: {after}")
        say(f"   moved in {m['total_ms']} ms: {m['rounds']} rounds, {m['bytes_sent']} bytes, {m['tls']}; downtime "
            f"{m['downtime_vcpu_ms']} ms for the vCPUs, {m['downtime_network_ms']} ms for the client; TCP connection and boot_id kept")

    @staticmethod
    def last_json(text):
        lines = [line for line in text.splitlines() if line.startswith("{")]
        if not lines:
            raise Failed(f"no figures in: {text!r}")
        return lines[-1]

    def fail_over(self):
        victim = self.where()[0]
        say(f"6. cutting the power of {victim}")
        self.wait("a second of steady answers before the cut", lambda: self.log.refresh().steady(1.0), 15)
        mark = self.log.now()
        self.tb.crash(victim)
        self.wait("the guest's first answer after the cut", lambda: self.log.refresh().first_reply_of_new_boot(mark), 90)
        before, after = self.log.last_status_before(mark), self.log.first_reply_of_new_boot(mark)
        fenced = self.fenced(victim)
        f = {"seconds_to_first_reply": round((after.received - mark) / 1e9, 2), "fenced": fenced,
             "data_intact": after.recovered >= before.durable > 0, "boot_id_changed": after.boot_id != before.boot_id}
        self.report["failover"] = f
        if not (f["fenced"] and f["data_intact"] and f["boot_id_changed"]):
            raise Failed(f"after the power cut: {f}; fsync'ed before the cut: {before.durable}, found after: {after.recovered}")
        node = self.wait("the guest in xl list", self.where, 10)
        if len(node) != 1:
            raise Failed(f"the guest is on {node}")
        say(f"   {victim} was fenced, the guest answers from {node[0]} {f['seconds_to_first_reply']} s after the cut; "
            f"{before.durable} writes were fsync'ed before the cut, {after.recovered} are on the disk")
        self.wait(f"{victim} back in the cluster", lambda: self.tb.init_pid(victim) and self.cluster_complete(node[0]), 60)

    def fenced(self, victim):
        for n in self.live_nodes():
            if n != victim:
                r = self.node_sh(n, "timeout", "10", "stonith_admin", "--history", victim, check=False)
                if r.returncode == 0 and re.search(r"(was able to|reboot|off).*" + victim, r.stdout):
                    return True
        return False

    def cluster_complete(self, node):
        r = self.node_sh(node, "timeout", "10", "crm_mon", "-1", "--output-as=xml", check=False)
        return r.stdout.count('online="true"') >= 3 and 'pending="true"' not in r.stdout

    def drain(self):
        node = self.where()[0]
        other = next(n for n in self.live_nodes() if n != node)
        self.wait("the demo guest's daemons on every node", lambda: all(self.daemons_up(n) for n in self.live_nodes()), 30)
        say(f"7. haven drain {node}")
        self.wait("a second of steady answers before the drain", lambda: self.log.refresh().steady(1.0), 15)
        before, mark, begun = self.log.status(), self.log.now(), time.monotonic()
        self.haven(other, "drain", node, stream=True)
        seconds = round(time.monotonic() - begun, 2)
        self.wait("steady answers after the drain", lambda: self.log.refresh().steady_since(mark, 1.0), 15)
        here = self.where()
        moved = len(here) == 1 and here[0] != node and self.log.status().boot_id == before.boot_id
        self.report["drain"] = {"seconds": seconds, "moved": 1 if moved else 0, "downtime_network_ms": self.log.longest_gap_ms(mark)}
        if not moved:
            raise Failed(f"after haven drain {node} the guest is on {here}, boot_id kept: {self.log.status().boot_id == before.boot_id}")
        say(f"   the guest left live for {here[0]} in {seconds} s, downtime for the client {self.report['drain']['downtime_network_ms']} ms")
        self.haven(other, "undrain", node)
        say(f"   haven undrain {node}: done")

    def run(self):
        for step in (self.bring_up, self.make_guest, self.start_guest, self.move, self.fail_over, self.drain):
            step()
        self.report["ok"] = True

    def stop_probe(self):
        if self.probe and self.probe.poll() is None:
            self.probe.terminate()
            self.probe.wait(timeout=5)


def print_report(report):
    say("8. report")
    for key, value in report.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        print(f"            {key:10} {value}")


def main():
    ap = argparse.ArgumentParser(prog="./quickstart")
    ap.add_argument("--work", required=True, help=argparse.SUPPRESS)
    ap.add_argument("--json", metavar="FILE", help="write the report there as JSON")
    ap.add_argument("--keep", action="store_true", help="leave the cluster up")
    a = ap.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    q = Quickstart(a.work)
    if q.tb.state:
        say("taking down what an earlier run left")
        q.tb.down()
    status = 1
    try:
        q.run()
        status = 0
    except Failed as e:
        print(f"FAILED: {e}", file=sys.stderr)
    except RuntimeError as e:
        print(f"FAILED: {e}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted; taking everything down", file=sys.stderr)
        status = 130
    finally:
        q.stop_probe()
        print_report(q.report)
        if a.json:
            with open(a.json, "w") as f:
                json.dump(q.report, f, indent=2)
                f.write("\n")
        if a.keep and status != 130:
            print("The cluster is up: ./quickstart shell n1 (then xl list, haven status, crm_mon); ./quickstart down ends it.")
        else:
            q.tb.down()
    return status


if __name__ == "__main__":
    sys.exit(main())
