#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The main job, step by step, with every figure of the report measured in this run.  Called by ./quickstart."""
import argparse
import json
import os
import signal
import sys
import time
import traceback

from democluster import NO_JUDGEMENT, DemoCluster, Failed, Wrong

T0 = time.monotonic()


def say(text):
    print(f"[{time.monotonic() - T0:6.1f} s] {text}", flush=True)


class Quickstart(DemoCluster):
    def __init__(self, work):
        super().__init__(work, os.path.join(work, "build"), os.path.join(work, "install"))
        self.report = {"nodes": 3, "kernel": None, "boot_s": None, "migration": {}, "failover": {}, "drain": {}, "ok": False}

    def bring_up(self):
        say("1. bringing up nodes n1, n2, n3 and the storage node (namespaces, corosync, pacemaker, Haven's daemons)")
        self.up(rotations=4)            # as README.md advises where processors are few: all nodes are on this machine's
        say("   three nodes online, quorate, fencing configured")

    def guest(self):
        say("2. making the demo guest: Debian's cloud kernel, busybox, an ext4 root on an iSCSI LUN")
        self.make_guest()
        self.report["kernel"] = self.kernel
        say(f"   kernel {self.kernel}; /etc/xen/demo.cfg on every node")

    def start(self):
        say("3. adding it to Pacemaker as ocf:haven:DomU")
        say("4. a client outside the nodes: a probe each millisecond, and a TCP connection that counts")
        self.start_probe()
        self.report["boot_s"] = self.start_guest()
        node = self.wait("the guest in xl list", self.where, 10)[0]
        for line in self.sh(node, "xl", "list").stdout.strip().splitlines():
            print("            " + line)
        console = self.console(node)
        greeting = next((line.strip() for line in console.splitlines() if "demo guest is up" in line), None)
        if not greeting:
            raise Failed(f"xl console on {node} does not show the guest's greeting: {console[-300:]!r}")
        say(f"   up on {node} after {self.report['boot_s']} s; its console: {greeting}")

    def move(self):
        source = self.where()[0]
        target = next(n for n in ("n2", "n1", "n3") if n != source)
        say(f"5. haven migrate demo {target}: moving it live from {source}")
        self.steady("before the move")
        before, mark = self.log.status(), self.log.now()
        figures = self.migrate(target, stream=True)
        self.said = f"done: {figures['phases']}" if "phases" in figures else "done"
        self.wait("steady answers after the move", lambda: self.log.refresh().steady_since(mark, 1.0), 15)
        self.wait("the TCP connection to count on", lambda: self.log.refresh().tcp_survived(mark), 5)
        if self.where() != [target]:
            raise Failed(f"after the move the guest is on {self.where()}, not on {target} alone")
        m = {k: figures[k] for k in ("total_ms", "rounds", "bytes_sent", "downtime_vcpu_ms")}
        m["downtime_network_ms"] = self.log.longest_silence_ms(mark)
        m["tls"] = figures["tls"]
        m["tcp_survived"] = self.log.tcp_survived(mark)
        m["boot_id_unchanged"] = before.boot_id == self.log.status().boot_id
        self.report["migration"] = m
        self.check_guest(before, "the move")
        say(f"   moved in {m['total_ms']} ms: {m['rounds']} rounds, {m['bytes_sent']} bytes, {m['tls']}; downtime "
            f"{m['downtime_vcpu_ms']} ms for the vCPUs, {m['downtime_network_ms']} ms for the client; TCP connection and boot_id kept")

    def fail_over(self):
        victim = self.where()[0]
        say(f"6. cutting the power of {victim}")
        self.steady("before the cut")
        mark = self.log.now()
        self.tb.crash(victim)
        after = self.wait("the guest's first answer after the cut", lambda: self.log.refresh().first_reply_of_new_boot(mark), 90)
        before = self.log.last_status_before(mark)
        f = {"seconds_to_first_reply": round((after.received - mark) / 1e9, 2), "fenced": self.fenced(victim),
             "data_intact": after.recovered >= before.durable > 0, "boot_id_changed": after.boot_id != before.boot_id}
        self.report["failover"] = f
        if not (f["fenced"] and f["data_intact"] and f["boot_id_changed"]):
            raise (Failed if f["data_intact"] else Wrong)(f"after the power cut: {f}; fsync'ed before the cut: {before.durable}, found after: {after.recovered}")
        here = self.wait("the guest in xl list", self.where, 10)
        if len(here) != 1:
            raise Failed(f"the guest is on {here}")
        say(f"   {victim} was fenced, the guest answers from {here[0]} {f['seconds_to_first_reply']} s after the cut; "
            f"{before.durable} writes were fsync'ed before the cut, {after.recovered} are on the disk")
        self.whole_again()

    def drain(self):
        node = self.where()[0]
        other = next(n for n in self.live_nodes() if n != node)
        say(f"7. haven drain {node}")
        self.steady("before the drain")
        before, mark, begun = self.log.status(), self.log.now(), time.monotonic()
        self.haven(other, "drain", node, stream=True)
        seconds = round(time.monotonic() - begun, 2)
        self.wait("steady answers after the drain", lambda: self.log.refresh().steady_since(mark, 1.0), 15)
        here = self.where()
        moved = len(here) == 1 and here[0] != node and self.log.status().boot_id == before.boot_id
        self.report["drain"] = {"seconds": seconds, "moved": 1 if moved else 0, "downtime_network_ms": self.log.longest_silence_ms(mark)}
        if not moved:
            raise Failed(f"after haven drain {node} the guest is on {here}, boot_id kept: {self.log.status().boot_id == before.boot_id}")
        self.check_guest(before, "the drain")
        say(f"   the guest left live for {here[0]} in {seconds} s, downtime for the client {self.report['drain']['downtime_network_ms']} ms")
        self.haven(other, "undrain", node)
        say(f"   haven undrain {node}: done")

    def run(self):
        for step in (self.bring_up, self.guest, self.start, self.move, self.fail_over, self.drain):
            step()
        self.report["ok"] = True


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
    status, begun = 1, time.monotonic_ns()
    try:
        q.run()
        status = 0
    except Exception as e:
        why = q.cluster_stalled(begun, e)               # first of all: what it goes by grows old
        q.keep_logs()
        if not isinstance(e, (Failed, RuntimeError)):
            traceback.print_exc()
        print(f"FAILED: {e}", file=sys.stderr)
        if why:
            print(f"No judgement: {why}", file=sys.stderr)
            status = NO_JUDGEMENT
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
            q.down()
    return status


if __name__ == "__main__":
    sys.exit(main())
