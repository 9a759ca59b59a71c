# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests of a kernel and a busybox, without a disk: many of them fit on a test bed."""
import os

import demo
import ramdisk

INIT = ramdisk.SETUP + """mount -t tmpfs -o size=90% tmp /tmp
for w in $(cat /proc/cmdline); do case $w in fill=*) head -c ${w#fill=}m /dev/urandom >/tmp/fill;; esac; done
echo guest ready >/dev/console
case "$(cat /proc/cmdline)" in *busy*) while :; do head -c 8m /dev/urandom >/tmp/busy; done;; esac
while :; do sleep 1000; done
"""


def start(c, guests, home, folder="small"):
    """All on the node home, as resources; guests: {name: (words for init on the command line, MiB)}. The other nodes may run nothing meanwhile."""
    vmlinuz, _, _ = demo.fetch_kernel(c.cache)
    initrd = ramdisk.make(os.path.join(c.work, folder + "-ramdisk"), INIT)
    others = [n for n in c.tb.nodes if n != home]
    for n in others:
        c.sh(home, "crm_attribute", "--node", n, "--name", "standby", "--update", "on")
    for i, (name, (extra, mib)) in enumerate(guests.items()):
        cfg = (f"name = '{name}'\ntype = 'pv'\nkernel = '/srv/{folder}/vmlinuz'\nramdisk = '/srv/{folder}/initrd'\n"
               f"extra = 'console=hvc0 quiet {extra}'\nmemory = {mib}\nvcpus = 1\n")
        if i == 0:
            demo.install_on_nodes(c.tb, vmlinuz, initrd, cfg, name=name, folder=f"srv/{folder}")
        for n in c.tb.nodes:
            demo.write(os.path.join(c.tb.root(n), f"etc/xen/{name}.cfg"), cfg)
        c.haven(home, "setup", name, f"/etc/xen/{name}.cfg")

    def ready(name):
        path = os.path.join(c.tb.root(home), f"var/log/xen/console/guest-{name}.log")
        return os.path.exists(path) and "guest ready" in open(path, errors="replace").read()
    c.wait(f"{len(guests)} guests booted", lambda: all(ready(n) for n in guests), 40 + 10 * len(guests), 0.5)
    for n in others:
        c.sh(home, "crm_attribute", "--node", n, "--name", "standby", "--update", "off")
