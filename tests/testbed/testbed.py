#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes in namespaces on one machine: a network + mount + pid + uts + ipc namespace each, real corosync and pacemaker.

    testbed.py [--dir DIR] up [--nodes N] [--no-cluster]    brings nodes n1.. and the storage node st up
    testbed.py crash|boot|freeze|thaw|partition|heal NODE   power cut, power on, hang, un-hang, network cut, network back
    testbed.py sh NODE [COMMAND...]                         a command (or a shell) on a node
    testbed.py client COMMAND...                            a command on the guests' network, outside the nodes
    testbed.py status | events | down

Everything lives under DIR (a tmpfs is mounted there) and in network namespaces and a cgroup whose names carry DIR's
hash, so that two test beds do not meet.  `down` leaves nothing.
"""
import argparse
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

from hosttime import HOST, Deadline, communicate, wall_limit

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULT_DIR = os.environ.get("HAVEN_TESTBED", "/var/tmp/haven-testbed")
CLUSTER_NET, GUEST_NET = "10.77.0", "10.78.0"
STORAGE = "st"


# A machine's corosync has all of its real-time priority.  Three in one cgroup that gets a hundredth of it stand still for the rest of each second,
# whatever runs beside them: there they go by the highest ordinary priority instead.
SHORT_OF_REALTIME = "system {\n  sched_rr: no\n  priority: max\n}\n"


def realtime_share():
    """How much of each second this cgroup may run at real-time priority, from 0 to 1."""
    try:
        with open("/proc/self/cgroup") as f:
            path = next(p for _, names, p in (line.strip().split(":", 2) for line in f) if "cpu" in names.split(","))
        figures = []
        for name in "runtime", "period":
            with open(f"/sys/fs/cgroup/cpu{path}/cpu.rt_{name}_us") as f:
                figures.append(int(f.read()))
        return max(0.0, figures[0] / figures[1])
    except (OSError, StopIteration, ZeroDivisionError):
        return 1.0                      # no cgroup has a share of its own


def run(*argv, check=True, **kw):
    """Runs a command; returns its CompletedProcess with text output captured."""
    r = subprocess.run(argv, stdin=kw.pop("stdin", subprocess.DEVNULL), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, **kw)
    if check and r.returncode:
        raise RuntimeError(f"{' '.join(argv)}: status {r.returncode}: {r.stdout.strip()}")
    return r


def start_time(pid):
    """Start time of a pid (with the pid it names a process), or None when it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def bound_of(argv):
    """Seconds of a command line that begins with `timeout SECONDS`, else 0."""
    return float(argv[1]) if argv[0] == "timeout" and argv[1][0].isdigit() else 0


def time_is_up(process):
    """What timeout(1) in a node does when its time is over, now: process is the nsenter it was started with."""
    try:
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as f:
            for pid in f.read().split():
                with open(f"/proc/{pid}/comm") as name:
                    if name.read().strip() == "timeout":
                        os.kill(int(pid), signal.SIGALRM)
    except OSError:
        pass


def guard(process, end):
    while process.poll() is None:
        time.sleep(max(0.1, min(1.0, end.left())))
        if end.passed():
            time_is_up(process)
            return


class Testbed:
    def __init__(self, path=DEFAULT_DIR):
        self.dir = os.path.abspath(path)
        self.tag = "hv" + hashlib.sha256(self.dir.encode()).hexdigest()[:4]
        self.t = os.path.join(self.dir, "t")
        self.state_file = os.path.join(self.dir, "state.json")
        base = "/sys/fs/cgroup/unified" if os.path.isdir("/sys/fs/cgroup/unified") else "/sys/fs/cgroup"
        self.cgroup = os.path.join(base, self.tag)
        self.state = {}
        self.power_lock = threading.Lock()
        if os.path.exists(self.state_file):
            with open(self.state_file) as f:
                self.state = json.load(f)

    # -- names and state -------------------------------------------------------------------------------------------
    def save(self):
        tmp = self.state_file + ".tmp"
        with open(tmp, "w") as f:
            json.dump(self.state, f)
        os.rename(tmp, self.state_file)

    @property
    def nodes(self):
        return self.state.get("nodes", [])

    def netns(self, name):
        return f"{self.tag}-{name}"

    def address(self, node):
        return f"{CLUSTER_NET}.100" if node == STORAGE else f"{CLUSTER_NET}.{node[1:]}"

    def pid_file(self, node):
        return os.path.join(self.dir, f"{node}.pid")

    def init_pid(self, node):
        """Host pid of the node's init, or None when the node is off."""
        try:
            with open(self.pid_file(node)) as f:
                pid, started = f.read().split()
        except (OSError, ValueError):
            return None
        return int(pid) if start_time(pid) == started else None

    def check_node(self, node):
        if node not in self.nodes + [STORAGE]:
            raise SystemExit(f"{node}: no such node; there are: {' '.join(self.nodes + [STORAGE])}")

    def event(self, text):
        with open(os.path.join(self.t, "shared", "events"), "a") as f:
            f.write(f"{time.time():.6f} host {text}\n")

    # -- network -----------------------------------------------------------------------------------------------------
    def ip(self, ns, *argv, check=True):
        return run("ip", "-n", self.netns(ns), *argv, check=check)

    def make_switch(self):
        run("ip", "netns", "add", self.netns("sw"))
        self.ip("sw", "link", "set", "lo", "up")
        for bridge, net in (("cluster", CLUSTER_NET), ("guests", GUEST_NET)):
            self.ip("sw", "link", "add", bridge, "type", "bridge")
            self.ip("sw", "link", "set", bridge, "up")
            self.ip("sw", "addr", "add", f"{net}.254/24", "dev", bridge)

    def make_node_network(self, node):
        ns = self.netns(node)
        run("ip", "netns", "add", ns)
        self.ip(node, "link", "set", "lo", "up")
        for port, dev, bridge in ((f"c-{node}", "eth0", "cluster"), (f"g-{node}", "eth1", "guests")):
            self.ip("sw", "link", "add", port, "type", "veth", "peer", "name", dev, "netns", ns)
            self.ip("sw", "link", "set", port, "master", bridge, "up")
        self.ip(node, "addr", "add", f"{self.address(node)}/24", "dev", "eth0")
        self.ip(node, "link", "set", "eth0", "up")

    def ports(self, node, state):
        for port in (f"c-{node}", f"g-{node}"):
            self.ip("sw", "link", "set", port, state, check=False)

    # -- nodes -------------------------------------------------------------------------------------------------------
    def boot(self, node):
        self.check_node(node)
        if self.init_pid(node):
            return
        d = os.path.join(self.t, node)
        for sub in ("upper", "work", "root"):
            os.makedirs(os.path.join(d, sub), exist_ok=True)
        self.configure_node(node, os.path.join(d, "upper"))
        cg = os.path.join(self.cgroup, node)
        os.makedirs(cg, exist_ok=True)
        if node not in self.state.get("partitioned", []):
            self.ports(node, "up")
        out = open(os.path.join(self.dir, f"{node}.out"), "a")
        init = [self.state["init"]] if self.state.get("init") and node != STORAGE else []
        # systemd's cgroup namespace has to begin at the node's own cgroup: unshare joins it first
        join = ["sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', cg] if init else []
        p = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.netns(node)}", *join, "unshare", "-m", "-p", "-u", "-i",
                              *(["-C"] if init else []), "-f", "--propagation", "private", os.path.join(HERE, "node-enter"),
                              node, d, cg, *init],
                             stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        out.close()
        child = self.first_child(p.pid)
        with open(self.pid_file(node), "w") as f:
            f.write(f"{child} {start_time(child)}")
        self.event(f"{node} power on")

    @staticmethod
    def first_child(pid):
        for _ in range(500):
            try:
                with open(f"/proc/{pid}/task/{pid}/children") as f:
                    kids = f.read().split()
            except OSError:
                break
            if kids:
                return int(kids[0])
            time.sleep(0.01)
        raise RuntimeError("the node's first process did not start")

    def write(self, root, path, text, mode=0o644):
        full = os.path.join(root, path.lstrip("/"))
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w") as f:
            f.write(text)
        os.chmod(full, mode)

    def configure_node(self, node, upper):
        if os.path.exists(os.path.join(upper, "etc/hostname")):
            return
        hosts = "127.0.0.1 localhost\n" + "".join(f"{self.address(n)} {n}\n" for n in self.nodes + [STORAGE])
        self.write(upper, "/etc/hostname", node + "\n")
        self.write(upper, "/etc/hosts", hosts)
        for d in ("var/log", "var/lib/haven"):
            os.makedirs(os.path.join(upper, d), exist_ok=True)
        if node == STORAGE:
            self.write(upper, "/etc/default/haven", f"ROLE=storage\nBRIDGES=\nPORTAL={self.address(node)}:3260\n")
            return
        if not self.state.get("cluster"):
            self.write(upper, "/etc/default/haven", "CLUSTER=no\n")
        else:
            self.write(upper, "/etc/corosync/corosync.conf", self.corosync_conf())
            self.write(upper, "/etc/default/pacemaker",
                       "PCMK_logfile=/var/log/pacemaker/pacemaker.log\nPCMK_logfacility=none\nPCMK_ipc_buffer=131072\n")
            self.write(upper, "/etc/haven-testbed/cib.xml", self.cib())
            self.write(upper, "/etc/haven/cluster.conf", "# This node takes part in a cluster: domains are claimed through ha-agentd.\n"
                       f"cluster_name = {self.tag}\n")
        self.write(upper, "/etc/haven/haven.conf", f"migration_address = {self.address(node)}\nmigration_port = 8002\n"
                   f"node_name = {node}\n")
        pki = os.path.join(self.t, "pki", node)
        if os.path.isdir(pki):
            shutil.copytree(pki, os.path.join(upper, "etc/haven/pki"), dirs_exist_ok=True)

    def corosync_conf(self):
        s = self.state
        nodes = "".join(f"  node {{\n    name: {n}\n    nodeid: {n[1:]}\n    ring0_addr: {self.address(n)}\n  }}\n" for n in self.nodes)
        rotations = f"  seqno_unchanged_const: {s['rotations']}\n" if s["rotations"] else ""
        crypto = "  crypto_cipher: none\n  crypto_hash: none\n" if s["transport"] == "knet" else ""
        return (f"totem {{\n  version: 2\n  cluster_name: {self.tag}\n  transport: {s['transport']}\n{crypto}  token: {s['token']}\n"
                f"{rotations}  token_coefficient: 0\n}}\nnodelist {{\n{nodes}}}\nquorum {{\n  provider: corosync_votequorum\n"
                f"{'  two_node: 1' + chr(10) if len(self.nodes) == 2 else ''}}}\n"
                f"{'' if realtime_share() > 0.5 else SHORT_OF_REALTIME}"
                "logging {\n  to_stderr: no\n  to_syslog: no\n  to_logfile: yes\n  logfile: /var/log/corosync/corosync.log\n"
                "  timestamp: hires\n}\n")

    def cib(self):
        props = {"stonith-enabled": "true", "no-quorum-policy": "freeze", "dc-deadtime": "2s", "stonith-action": "reboot",
                 "stonith-timeout": "30s", "cluster-name": self.tag}
        nv = "".join(f'<nvpair id="p-{k}" name="{k}" value="{v}"/>' for k, v in props.items())
        hosts = " ".join(self.nodes)
        return ('<cib admin_epoch="0" epoch="5" num_updates="0" validate-with="pacemaker-3.9" crm_feature_set="3.16.1"><configuration>'
                f'<crm_config><cluster_property_set id="cib-bootstrap-options">{nv}</cluster_property_set></crm_config><nodes/><resources>'
                '<primitive id="power" class="stonith" type="fence_testbed"><instance_attributes id="power-ia">'
                f'<nvpair id="power-l" name="pcmk_host_list" value="{hosts}"/>'
                '<nvpair id="power-c" name="pcmk_host_check" value="static-list"/></instance_attributes>'
                '<operations><op id="power-m" name="monitor" interval="60s" timeout="20s"/></operations></primitive>'
                '</resources><constraints/></configuration><status/></cib>')

    def crash(self, node):
        """Power cut: the ports go first, so that no FIN or RST of a dying process reaches a peer."""
        self.check_node(node)
        self.ports(node, "down")
        pid = self.init_pid(node)
        cg = os.path.join(self.cgroup, node)
        if pid:
            self.event(f"{node} power cut")
            self.cgroup_write(node, "cgroup.freeze", "0")
            os.kill(pid, signal.SIGKILL)
        for _ in range(3000):
            if not self.populated(cg):
                break
            time.sleep(0.01)
        else:
            raise RuntimeError(f"{node}: processes are left in {cg} 30 s after the power cut: {self.processes_of(cg)}")
        if os.path.exists(self.pid_file(node)):
            os.unlink(self.pid_file(node))

    @staticmethod
    def pids_in(cg):
        """Of a cgroup that may end meanwhile."""
        try:
            with open(os.path.join(cg, "cgroup.procs")) as f:
                return f.read().split()
        except OSError:
            return []

    @classmethod
    def processes_of(cls, cg):
        """Name, state and kernel function of each, for who has to find out why it does not end."""
        out = []
        for pid in cls.pids_in(cg):
            try:
                with open(f"/proc/{pid}/stat") as f, open(f"/proc/{pid}/wchan") as w:
                    name, rest = f.read().split("(", 1)[1].rsplit(")", 1)
                    out.append(f"{name} {rest.split()[0]} {w.read()}")
            except OSError:
                pass
        return ", ".join(out) or "none by now"

    @staticmethod
    def populated(cg):
        try:
            with open(os.path.join(cg, "cgroup.events")) as f:
                return "populated 1" in f.read()
        except OSError:
            return False

    def cgroup_write(self, node, name, value):
        path = os.path.join(self.cgroup, node, name)
        if os.path.exists(path):
            with open(path, "w") as f:
                f.write(value)

    def freeze(self, node):
        self.check_node(node)
        self.event(f"{node} freeze")
        self.cgroup_write(node, "cgroup.freeze", "1")

    def thaw(self, node):
        self.check_node(node)
        self.event(f"{node} thaw")
        self.cgroup_write(node, "cgroup.freeze", "0")

    def partition(self, node):
        self.check_node(node)
        self.event(f"{node} partition")
        self.state.setdefault("partitioned", []).append(node)
        self.save()
        self.ports(node, "down")

    def heal(self, node):
        self.check_node(node)
        self.event(f"{node} heal")
        self.state["partitioned"] = [n for n in self.state.get("partitioned", []) if n != node]
        self.save()
        self.ports(node, "up")

    def root(self, node):
        """The node's root folder as the host can open it."""
        return f"/proc/{self.init_pid(node)}/root"

    def argv(self, node, *argv):
        """The command line that runs argv on a node.

        A `timeout SECONDS` at its beginning means host time: what is run gets the bound in wall time, sh() and popen() keep the other."""
        pid = self.init_pid(node)
        if not pid:
            raise RuntimeError(f"{node} is powered off")
        if bound_of(argv):
            argv = ["timeout", str(wall_limit(bound_of(argv))), *argv[2:]]
        return ["nsenter", "-t", str(pid), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "--", "/usr/bin/env", "-i",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", f"TERM={os.environ.get('TERM', 'dumb')}",
                *(f"{k}={v}" for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")), *argv]

    def sh(self, node, *argv, check=True, **kw):
        """Runs it; returns its CompletedProcess with text output captured."""
        if not bound_of(argv):
            return run(*self.argv(node, *argv), check=check, **kw)
        p = subprocess.Popen(self.argv(node, *argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
        out = communicate(p, bound_of(argv), lambda: time_is_up(p))
        if check and p.returncode:
            raise RuntimeError(f"{' '.join(argv)} on {node}: status {p.returncode}: {out.strip()}")
        return subprocess.CompletedProcess(argv, p.returncode, out)

    def popen(self, node, *argv, **kw):
        """Starts it; its `timeout SECONDS` counts host time, as in sh()."""
        p = subprocess.Popen(self.argv(node, *argv), stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, **kw)
        if bound_of(argv):
            threading.Thread(target=guard, args=(p, Deadline(bound_of(argv))), daemon=True).start()
        return p

    def client_argv(self, *argv):
        return ["nsenter", f"--net=/run/netns/{self.netns('sw')}", "--", *argv]

    # -- the whole ---------------------------------------------------------------------------------------------------
    def up(self, nodes=3, cluster=True, install=None, transport="knet", token=1000, wait=True,
           init=None, rotations=None):
        """install: a DESTDIR of `make install`; its files appear in every node.  init: "systemd", or None for node-init.  rotations: of the token
        until it rests after a message, if other than corosync's own 30 (seqno_unchanged_const)."""
        if self.state:
            raise SystemExit(f"{self.dir}: a test bed is up already; take it down first")
        os.makedirs(self.dir, exist_ok=True)
        os.makedirs(self.t, exist_ok=True)
        self.state = {"nodes": [f"n{i + 1}" for i in range(nodes)], "cluster": cluster, "transport": transport, "token": token,
                      "init": init, "rotations": rotations}
        self.save()
        run("mount", "-t", "tmpfs", "-o", "mode=755,size=12g", self.tag, self.t)
        self.make_layers(install)
        os.makedirs(os.path.join(self.t, "shared"))
        os.makedirs(self.cgroup, exist_ok=True)
        self.make_pki()
        self.make_switch()
        for n in self.nodes + [STORAGE]:
            self.make_node_network(n)
        self.start_power_controller()
        for n in [STORAGE] + self.nodes:
            self.boot(n)
        if wait and cluster:
            self.wait_online()

    def make_layers(self, install):
        haven, node = os.path.join(self.t, "layers/haven"), os.path.join(self.t, "layers/node")
        os.makedirs(os.path.join(node, "usr/libexec/haven-testbed"))
        os.makedirs(os.path.join(node, "usr/sbin"))
        if install:
            shutil.copytree(install, haven, symlinks=True)
            # /lib is a symlink on a merged-/usr host; a folder of that name in a layer would hide it and with it the C library
            for d in ("bin", "sbin", "lib"):
                if os.path.isdir(os.path.join(haven, d)) and os.path.islink("/" + d):
                    shutil.copytree(os.path.join(haven, d), os.path.join(haven, "usr", d), symlinks=True, dirs_exist_ok=True)
                    shutil.rmtree(os.path.join(haven, d))
        else:
            os.makedirs(haven)
        shutil.copy2(os.path.join(HERE, "node-init"), os.path.join(node, "usr/libexec/haven-testbed/node-init"))
        shutil.copytree(os.path.join(HERE, "units"), os.path.join(node, "etc/systemd/system"))
        shutil.copy2(os.path.join(HERE, "fence_testbed"), os.path.join(node, "usr/sbin/fence_testbed"))

    def make_pki(self):
        """One cluster CA and a certificate a node, by the installed `haven cert`."""
        haven = os.path.join(self.t, "layers/haven/usr/sbin/haven")
        if not os.path.exists(haven):
            return
        ca = os.path.join(self.t, "pki", "ca")
        os.makedirs(ca)
        env = dict(os.environ, HAVEN_CONF_DIR=ca)
        run(haven, "cert", "init", self.tag, env=env)
        for n in self.nodes:
            out = os.path.join(self.t, "pki", n)
            run(haven, "cert", "issue", n, "--out", out, env=env)

    def start_power_controller(self):
        log = open(os.path.join(self.dir, "power.out"), "a")
        p = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--dir", self.dir, "power-controller"],
                             stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        log.close()
        with open(os.path.join(self.dir, "power.pid"), "w") as f:
            f.write(f"{p.pid} {start_time(p.pid)}")
        for _ in range(200):
            if os.path.exists(os.path.join(self.t, "shared", "power.sock")):
                return
            time.sleep(0.02)
        raise RuntimeError("the power controller did not start")

    def power_controller(self):
        """Serves fencing requests outside the nodes, as a BMC would: works whatever the cluster's network does."""
        folder = os.open(os.path.join(self.t, "shared"), os.O_PATH)
        s = socket.socket(socket.AF_UNIX)
        s.bind(f"/proc/self/fd/{folder}/power.sock")            # a checkout may lie deeper than a socket's 107 octets reach
        os.close(folder)
        s.listen(16)
        while True:
            c, _ = s.accept()
            threading.Thread(target=self.serve_power, args=(c,), daemon=True).start()

    def serve_power(self, c):
        with c:
            words = c.makefile().readline().split()
            answer = "error"
            with self.power_lock:
                try:
                    answer = self.power_request(*words)
                except (RuntimeError, SystemExit, TypeError) as e:
                    self.event(f"power controller: {words}: {e}")
            try:
                c.sendall((answer + "\n").encode())
            except OSError:
                pass

    def power_on(self, node):
        """One at a time: a reboot asked for twice within its second would start the node twice, and the first one's processes for good."""
        with self.power_lock:
            self.boot(node)

    def power_request(self, verb, node=None):
        if verb == "ping":
            return "pong"
        if verb == "list":
            return "\n".join(self.nodes)
        self.check_node(node)
        if verb == "status":
            return "on" if self.init_pid(node) else "off"
        self.event(f"power controller: {verb} {node}")
        if verb in ("off", "reboot"):
            self.crash(node)
            if verb == "reboot" and not os.path.exists(os.path.join(self.dir, "no-reboot")):
                threading.Timer(1.0, self.power_on, (node,)).start()
            return "ok"
        if verb == "on":
            self.boot(node)
            return "ok"
        return "error"

    def wait_online(self, timeout=60):
        end = Deadline(timeout)
        while not end.passed():
            r = self.sh(self.nodes[0], "timeout", "10", "crm_mon", "-1", "--output-as=xml", check=False)
            if r.returncode == 0 and r.stdout.count('online="true"') >= len(self.nodes) and 'pending="true"' not in r.stdout:
                return
            time.sleep(0.25)
        raise RuntimeError(f"the cluster did not come up within {timeout} s: {HOST.told(end.begun)}; see {self.t}/n1/upper/var/log")

    def down(self):
        """Takes everything away, also what an interrupted `up` left."""
        try:
            with open(os.path.join(self.dir, "power.pid")) as f:
                pid, started = f.read().split()
            if start_time(pid) == started:
                os.kill(int(pid), signal.SIGKILL)
        except (OSError, ValueError):
            pass
        for n in self.nodes + [STORAGE]:
            try:
                self.crash(n)
            except (RuntimeError, SystemExit) as e:
                print(e, file=sys.stderr)
        for n in self.nodes + [STORAGE, "sw"]:
            run("ip", "netns", "del", self.netns(n), check=False)
        for n in self.nodes + [STORAGE, ""]:
            try:
                os.rmdir(os.path.join(self.cgroup, n))
            except OSError:
                pass
        for _ in range(50):
            if not os.path.ismount(self.t) or run("umount", self.t, check=False).returncode == 0:
                break
            time.sleep(0.1)
        else:
            run("umount", "-l", self.t, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)
        self.state = {}

    def status(self):
        for n in self.nodes + [STORAGE]:
            cut = " (partitioned)" if n in self.state.get("partitioned", []) else ""
            print(f"{n}  power={'on' if self.init_pid(n) else 'off'}{cut}  address={self.address(n)}")
        for n in self.nodes:
            if self.state.get("cluster") and self.init_pid(n):
                print(self.sh(n, "timeout", "10", "crm_mon", "-1", check=False).stdout)
                break


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--dir", default=DEFAULT_DIR)
    sub = ap.add_subparsers(dest="verb", required=True)
    up = sub.add_parser("up")
    up.add_argument("--nodes", type=int, default=3)
    up.add_argument("--no-cluster", action="store_true")
    up.add_argument("--install", help="DESTDIR of make install")
    up.add_argument("--transport", default="knet")
    up.add_argument("--token", type=int, default=1000)
    for verb in ("crash", "boot", "freeze", "thaw", "partition", "heal"):
        sub.add_parser(verb).add_argument("node")
    sh = sub.add_parser("sh")
    sh.add_argument("node")
    sh.add_argument("command", nargs=argparse.REMAINDER)
    sub.add_parser("client").add_argument("command", nargs=argparse.REMAINDER)
    for verb in ("status", "events", "down", "power-controller"):
        sub.add_parser(verb)
    a = ap.parse_args()
    tb = Testbed(a.dir)
    if a.verb == "up":
        tb.up(a.nodes, not a.no_cluster, a.install, a.transport, a.token)
    elif a.verb == "sh":
        tb.check_node(a.node)
        argv = tb.argv(a.node, *(a.command or ["bash"]))
        os.execvp(argv[0], argv)
    elif a.verb == "client":
        argv = tb.client_argv(*(a.command or ["bash"]))
        os.execvp(argv[0], argv)
    elif a.verb == "events":
        with open(os.path.join(tb.t, "shared", "events")) as f:
            print(f.read(), end="")
    elif a.verb == "power-controller":
        tb.power_controller()
    elif a.verb in ("status", "down"):
        getattr(tb, a.verb)()
    else:
        getattr(tb, a.verb)(a.node)


if __name__ == "__main__":
    main()
