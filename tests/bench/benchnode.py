#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of bench-engine that need a node: disk, network, resident memory, the time of `xl create`.

    benchnode.py KERNEL MODULES RUNS OUT ROW...

Run by bench-engine, in namespaces of its own, with the build folder's daemons.  OUT gets a JSON object: row -> side -> seconds
of each run; idle_resident in MiB; "cpu": the same of processor time (of the domain's process); and the reason of what could not be measured.  Both guests have one vCPU and 512 MiB, disk images
side by side on one file system, taps in one bridge.
"""
import glob
import json
import os
import re
import resource
import subprocess
import sys
import time

if os.environ.get("IN_NS") != "1":
    os.environ["IN_NS"] = "1"
    os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", sys.executable] + sys.argv)

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
sys.path[:0] = [os.path.join(TOP, "tests/testbed"), os.path.join(TOP, "tests/store"), os.path.join(TOP, "tests/bench")]
import benchqemu                                                                        # noqa: E402
import debian                                                                           # noqa: E402
import ramdisk                                                                          # noqa: E402
from daemon import BUILD, Failed, Run, wait_for                                         # noqa: E402

CACHE = os.environ.get("HAVEN_CACHE") or os.path.join(BUILD, "bench-cache")
PROGRAM = os.path.join(BUILD, "tests/bench/bench-guest")
IO = ["disk_4k_random", "disk_1m_sequential", "net_stream", "net_request_response"]
MEMORY_MIB = 512
LIMIT = 120
USERLAND_LIMIT = 1800
USERLAND_EXTRA = "quiet net.ifnames=0 systemd.show_status=1 systemd.default_timeout_start_sec=900"
MULTI_USER = r"Reached target.*multi-user"


def sh(*args):
    subprocess.run(args, check=True)


class Guest:
    """What its console says, from a descriptor, and what it is told."""
    def __init__(self, read, write):
        self.read, self.write, self.text = read, write, ""

    def line(self, pattern, seconds=LIMIT):
        def found():
            self.text += self.read()
            m = re.search(pattern, self.text, re.M)
            if m:
                self.text = self.text[m.end():]
            return m
        return wait_for(pattern, found, seconds)

    def run(self, name):
        self.write(name + "\n")
        m = self.line(rf"^{name} (?:([0-9.]+) \S+ \w+|unknown)\r?$")
        if not m.group(1):
            raise Failed(f"no program {name}")
        return float(m.group(1))


def xl(run, *args):
    p = subprocess.run([os.path.join(BUILD, "xl"), *args], env=run.env, capture_output=True, text=True, timeout=60)
    if p.returncode:
        raise Failed(f"xl {' '.join(args)}: {p.stdout}{p.stderr}")
    return p.stdout


def config(run, kernel, extra, cmdline="console=hvc0 quiet loglevel=1 panic=-1 BENCH_ADDRESS=10.79.0.2"):
    path = run.dir + "/g.cfg"
    with open(path, "w") as f:
        f.write(f"""name = 'bench'
type = 'pv'
kernel = '{kernel}'
ramdisk = '{run.dir}/ramdisk'
extra = '{cmdline}'
memory = {MEMORY_MIB}
vcpus = 1
{extra}
""")
    return path


def console_text(run):
    logs = glob.glob(run.dir + "/console/guest-*.log")
    return "".join(open(log, encoding="utf-8", errors="replace").read() for log in sorted(logs))


def haven_guest(run, kernel):
    return haven_start(run, config(run, kernel, f"disk = [ 'file:{run.dir}/root.img,xvda,w', 'file:{run.dir}/haven.img,xvdb,w' ]\n"
                                   "vif = [ 'mac=00:16:3e:be:0c:01,bridge=xenbr0' ]"))


def haven_start(run, cfg):
    before = len(console_text(run))
    xl(run, "create", cfg)
    domid = int(xl(run, "domid", "bench"))
    tty = wait_for("a console", lambda: run.call("xenconsoled.sock", {"op": "path", "domid": domid}).get("path"))
    seen = [before]

    def read():
        text = console_text(run)
        new, seen[0] = text[seen[0]:], len(text)
        return new

    def write(text):
        fd = os.open(tty, os.O_RDWR | os.O_NOCTTY)
        os.write(fd, text.encode())
        os.close(fd)
    return Guest(read, write)


def tcg_guest(run, qemu, kernel):
    sh("ip", "tuntap", "add", "benchtap", "mode", "tap")
    sh("ip", "link", "set", "benchtap", "master", "xenbr0", "up")
    return tcg_start(run, qemu, kernel, ["-initrd", run.dir + "/ramdisk", "-append", "console=ttyS0 quiet loglevel=1 BENCH_ADDRESS=10.79.0.3",
                     "-netdev", "tap,id=n,ifname=benchtap,script=no,downscript=no",
                     "-device", "virtio-net-pci,netdev=n,mac=00:16:3e:be:0c:02,romfile="])


def tcg_start(run, qemu, kernel, arguments):
    log = open(run.dir + "/tcg.log", "wb")
    p = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *qemu.command(), "-m", str(MEMORY_MIB), "-smp", "1", "-kernel", kernel,
                          "-drive", f"file={run.dir}/tcg.img,format=raw,if=none,id=d", "-device", "virtio-blk-pci,drive=d", *arguments],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=qemu.environment())
    os.set_blocking(p.stdout.fileno(), False)

    def read():
        if p.poll() is not None:
            raise Failed("QEMU ended: " + open(run.dir + "/tcg.log").read()[-500:])
        return (p.stdout.read() or b"").decode(errors="replace")

    def write(text):
        p.stdin.write(text.encode())
        p.stdin.flush()
    return Guest(read, write), p


def record(run):
    return run.call("hypervisord.sock", {"op": "list", "name": "bench"})["domains"][0]


def cpu_seconds(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0]) / 1e9
    return total


def resident_mib(pid):
    """Of the process, less the guest's RAM; memory it shares counts once."""
    total = 0
    ram = False
    for line in open(f"/proc/{pid}/smaps"):
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ram = "memfd:haven-domain" in line
        elif line.startswith("Pss:") and not ram:
            total += int(line.split()[1])
    return total / 1024


def measure_io(run, kernel, qemu, runs, rows, out):
    server = subprocess.Popen([PROGRAM, "--serve"])
    sides = {"haven": haven_guest(run, kernel)}
    sides["tcg"], process = tcg_guest(run, qemu, kernel)
    try:
        for g in sides.values():
            g.line(r"bench ready")
        for r in range(runs):
            for row in [x for x in IO if x in rows]:
                for name, g in sides.items():
                    out.setdefault(row, {}).setdefault(name, []).append(g.run(row))
                print(f"run {r + 1}: {row:20s} " + "  ".join(f"{s} {out[row][s][-1]:8.3f}" for s in sides), file=sys.stderr, flush=True)
    finally:
        process.kill()
        process.wait()
        server.kill()
        server.wait()
        xl(run, "destroy", "bench")


def measure_resident(run, kernel, runs, out):
    g = haven_guest(run, kernel)
    g.line(r"bench ready")
    time.sleep(45)                          # after half a minute of idleness its translations go
    out["idle_resident"] = {"haven": [resident_mib(record(run)["hvdomain_pid"])]}
    xl(run, "destroy", "bench")


def create_once(run, kernel):
    """Seconds until a vCPU first goes to run, seconds until the guest's kernel has written to its console, processor time until then."""
    cfg = config(run, kernel, "")
    text = open(cfg).read().replace("quiet loglevel=1", "earlyprintk=xen")
    with open(cfg, "w") as f:
        f.write(text)
    before = len(console_text(run))
    begun = time.monotonic()
    p = subprocess.Popen([os.path.join(BUILD, "xl"), "create", cfg], env=run.env, stdout=subprocess.DEVNULL)
    while len(console_text(run)) == before:
        if time.monotonic() - begun > LIMIT:
            raise Failed("nothing on the console")
        time.sleep(0.001)
    seconds = time.monotonic() - begun
    p.wait()
    domain = record(run)
    cpu = cpu_seconds(domain["hvdomain_pid"])
    xl(run, "destroy", "bench")
    # hv-domain's CLOCK_MONOTONIC is ours
    return domain["first_run_ns"] / 1e9 - begun, seconds, cpu


def xz_kernel():
    found = glob.glob(os.path.join(CACHE, "kernel-6.1-amd64/boot/vmlinuz-*-amd64")) + glob.glob(os.path.join(CACHE, "kernel-6.1-amd64/vmlinuz*"))
    return found[0] if found else None


def xz_seconds(run, kernel):
    """xz -dc of the kernel's own payload."""
    data = open(kernel, "rb").read()
    at = data.find(b"\xfd7zXZ\x00")
    with open(run.dir + "/payload.xz", "wb") as f:
        f.write(data[at:])
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    # the payload is followed by its length and the rest of the file, of which xz complains
    subprocess.run(["xz", "-dc", run.dir + "/payload.xz"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - begun, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def note(out, row, side, seconds, cpu):
    out.setdefault(row, {}).setdefault(side, []).append(seconds)
    out.setdefault("cpu", {}).setdefault(row, {}).setdefault(side, []).append(cpu)


def measure_create(run, kernel, runs, out):
    xz = xz_kernel()
    for _ in range(runs):
        first, octet, cpu = create_once(run, kernel)
        note(out, "create_to_first_instruction", "haven", first, cpu)
        note(out, "create_to_first_octet", "haven", octet, cpu)
        if xz:
            first, octet, cpu = create_once(run, xz)
            note(out, "create_xz", "haven", first, cpu)
            note(out, "create_xz", "native", *xz_seconds(run, xz))


def measure_userland(run, kernel, modules, qemu, runs, out):
    """A cold boot of Debian 12, each time from a fresh disk, to systemd's multi-user target."""
    ramdisk.make(run.dir + "/userland-ramdisk", ramdisk.to_disk(devices=("xvda", "vda")), modules,
                 ["xen-blkfront", "virtio-pci", "virtio-blk", "ext4"])
    for r in range(runs):
        for side in ("haven", "tcg"):
            subprocess.run(["cp", "--sparse=always", "--reflink=auto", debian.userland(CACHE), f"{run.dir}/{side}.img"], check=True)
            process = None
            begun = time.monotonic()
            if side == "haven":
                g = haven_start(run, config(run, kernel, f"disk = [ 'file:{run.dir}/haven.img,xvda,w' ]\nramdisk = '{run.dir}/userland-ramdisk'",
                                            "console=hvc0 " + USERLAND_EXTRA))
            else:
                g, process = tcg_start(run, qemu, kernel, ["-initrd", run.dir + "/userland-ramdisk", "-append", "console=ttyS0 " + USERLAND_EXTRA])
            g.line(MULTI_USER, USERLAND_LIMIT)
            note(out, "boot_userland", side, time.monotonic() - begun, cpu_seconds(process.pid if process else record(run)["hvdomain_pid"]))
            if process:
                process.kill()
                process.wait()
            else:
                xl(run, "destroy", "bench")
        print(f"run {r + 1}: boot_userland        " + "  ".join(f"{s} {t[-1]:8.3f}" for s, t in out["boot_userland"].items()), file=sys.stderr, flush=True)


def main():
    kernel, modules, runs, path, rows = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5:]
    out = {}
    run = Run()
    try:
        sh("sh", "-c", "ip link set lo up; ip link add xenbr0 type bridge; ip addr add 10.79.0.1/24 dev xenbr0; ip link set xenbr0 up")
        ramdisk.make(run.dir + "/ramdisk", PROGRAM, modules, ["xen-blkfront", "xen-netfront", "virtio-pci", "virtio-blk", "virtio-net"])
        for name in ("root", "haven", "tcg"):
            with open(f"{run.dir}/{name}.img", "wb") as f:
                for _ in range(1 if name == "root" else 128):
                    f.write(b"\x5a" * (1 << 20))
        for name in ("xenstored", "xenconsoled", "hypervisord"):
            run.start(name, {"xenstored": "xenstored-admin.sock"}.get(name, name + ".sock"), 20)
        if "create_to_first_instruction" in rows:
            measure_create(run, kernel, runs, out)
        if "idle_resident" in rows:
            measure_resident(run, kernel, runs, out)
        if "boot_userland" in rows:
            measure_userland(run, kernel, modules, benchqemu.Qemu(CACHE), runs, out)
        if set(rows) & set(IO):
            measure_io(run, kernel, benchqemu.Qemu(CACHE), runs, rows, out)
    except (Failed, OSError, subprocess.SubprocessError) as e:
        out["failed"] = f"{e}; {console_text(run)[-300:]}"
    finally:
        run.done()
    with open(path, "w") as f:
        json.dump(out, f)


main()
