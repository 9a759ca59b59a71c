# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole Debian 12 as a guest on a node alone: its xl.cfg, its boot to a login on hvc0, its clock against the node's."""
import os
import shutil
import socket
import struct
import subprocess
import time

import debian
import demo
import ramdisk
from daemon import BUILD, Failed
from linuxguest import CACHE, Guest, make_bridge, start_daemons, xl

ADDRESS, PORT = "10.79.0.10", 7
CHECKS = ["guest-check", "guest-clock"]


def fetch():
    debian.userland(CACHE)


class Debian(Guest):
    """The guest, started.  more_disk: a file that is its xvdb."""

    def __init__(self, run, vcpus, mib, more_disk=None):
        super().__init__(run, "debian")
        vmlinuz, modules, _ = debian.kernel(CACHE, "6.1-cloud")
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", debian.userland(CACHE), run.dir + "/root.img"], check=True)
        init = ramdisk.to_disk("mkdir -p /root/usr/local/bin\n" + "".join(f"cp /bin/{p} /root/usr/local/bin\n" for p in CHECKS))
        ramdisk.make(run.dir + "/ramdisk", init, modules, demo.MODULES, [("bin/" + p, os.path.join(BUILD, "tests/testbed", p)) for p in CHECKS])
        disks = [f"file:{run.dir}/root.img,xvda,w"] + ([f"file:{more_disk},xvdb,r"] if more_disk else [])
        demo.write(run.dir + "/debian.cfg", f"name = 'debian'\ntype = 'pv'\nkernel = '{vmlinuz}'\nramdisk = '{run.dir}/ramdisk'\n"
                   f"extra = 'console=hvc0 net.ifnames=0 systemd.default_timeout_start_sec=900'\nmemory = {mib}\nvcpus = {vcpus}\ndisk = {disks}\n"
                   "vif = [ 'mac=00:16:3e:de:30:09,bridge=xenbr0' ]\non_crash = 'preserve'\n")
        make_bridge()
        start_daemons(run)
        self.begun = time.monotonic()
        xl(run, "create", "-q", run.dir + "/debian.cfg")

    def log_in(self):
        """Seconds from creation to the login prompt."""
        self.wait(r"debian login: ", 400)
        seconds = time.monotonic() - self.begun
        self.type("root\r")
        self.wait(r"^Password: ", 60)
        time.sleep(0.5)                                # login empties its input before it reads
        self.type(debian.ROOT_PASSWORD + "\r")
        self.wait(r"root@debian:~# ", 120)
        # the kernel's own messages would stand in the midst of what is typed and printed; dmesg has them
        # systemd ends a unit, this shell's too, when the kernel kills one of its programs for want of memory
        self("mkdir -p /run/systemd/system/serial-getty@hvc0.service.d && printf '[Service]\\nOOMPolicy=continue\\n' "
             "> /run/systemd/system/serial-getty@hvc0.service.d/oom.conf && systemctl daemon-reload")
        self("stty -echo cols 500; dmesg -n 1; export TERM=dumb LC_ALL=C PS1='$ '")
        self(f"ip link set lo up; ip link set eth0 up; ip addr add {ADDRESS}/24 dev eth0")
        self(f"guest-clock {PORT} >/dev/null 2>&1 & disown")
        return seconds

    def clocks_kept(self, first):
        """Its clocks have gone as the node's since clock() said `first`."""
        last = self.clock()
        moved = [last[i] - first[i] for i in (0, 1)]
        print(f"clocks: the guest's less the node's moved by {moved[0] * 1e3:+.2f} ms (real time), {moved[1] * 1e3:+.2f} ms (monotonic); "
              f"round trips {first[2] * 1e3:.2f}, {last[2] * 1e3:.2f} ms", flush=True)
        if max(map(abs, moved)) > 0.02 + first[2] + last[2]:
            raise Failed(f"the guest's time drifts: {first} -> {last}")
        # Linux counts lost ticks until it has its clock source: a slow boot leaves it behind, by what it took
        if not -20 < first[0] < 0.5:
            raise Failed(f"a guest takes the time of day from its node: it is {first[0]:+.3f} s off")

    def clock(self):
        """(realtime, monotonic) of the guest less the node's in seconds, from the quickest of many exchanges; its round trip."""
        best = None
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(0.5)
        end = time.monotonic() + 20
        n = 0
        while n < 200 and time.monotonic() < end:
            n += 1
            sent = time.monotonic_ns()
            try:
                s.sendto(struct.pack("<Q", n), (ADDRESS, PORT))
                while True:
                    p = s.recv(64)
                    if struct.unpack("<4Q", p)[0] == n:
                        break
            except TimeoutError:
                continue
            now, wall = time.monotonic_ns(), time.time_ns()
            trip = now - sent
            if best is None or trip < best[2]:
                _, real, mono, _ = struct.unpack("<4Q", p)
                best = ((real - wall + trip // 2) / 1e9, (mono - now + trip // 2) / 1e9, trip)
            time.sleep(0.005)
        s.close()
        if best is None:
            raise Failed("the guest's clock does not answer; its console ends: " + self.text()[-1500:])
        return best[0], best[1], best[2] / 1e9

    def complaints(self):
        """What the kernel has said since boot; dmesg, since the console is kept quiet."""
        self("dmesg | sed 's/^/dmesg: /'", 60)
        self.trouble()

    def power_off(self):
        self.type("poweroff\r")
        self.gone(180)
        # what the guest was told is on disk, is: a clean file system
        fsck = subprocess.run(["e2fsck", "-fn", self.run.dir + "/root.img"], capture_output=True, text=True)
        if fsck.returncode:
            raise Failed(f"the disk after power-off: {fsck.stdout[-800:]}{fsck.stderr}")


def tools_or_skip(*tools):
    for tool in ("unshare", "mke2fs", "cpio", "mmdebstrap", *tools):
        if not shutil.which(tool):
            print(f"needs {tool}")
            raise SystemExit(77)
    if os.geteuid() != 0:
        print("needs root")
        raise SystemExit(77)
