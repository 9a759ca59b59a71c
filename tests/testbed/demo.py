# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo guest: Debian's own cloud kernel, a busybox userland, its root file system on an iSCSI LUN."""
import glob
import os
import re
import shutil
import time

import ramdisk
from testbed import CLUSTER_NET, GUEST_NET, STORAGE, run

GUEST_ADDRESS = f"{GUEST_NET}.10"
MAC = "00:16:3e:de:30:01"
IQN = "iqn.2026-11.haven.testbed:demo"
MODULES = ["xen-blkfront", "xen-netfront", "ext4"]
DISK_MIB = 96

GUEST_INITTAB = """::sysinit:/etc/rcS
hvc0::respawn:/bin/sh -l
::respawn:/usr/bin/demo-guest /data/written {pattern_mib} {journal}
::shutdown:/bin/sync
::shutdown:/bin/umount -a -r
"""
GUEST_RCS = """#!/bin/sh
echo 1 > /proc/sys/kernel/sysrq
mount -o remount,rw /
ip link set lo up
ip link set eth0 up
ip addr add {address}/24 dev eth0
echo "demo guest is up: boot_id $(cat /proc/sys/kernel/random/boot_id)"
"""


def fetch_kernel(cache):
    """Downloads and unpacks (does not install) the kernel package; returns (vmlinuz, modules folder, release)."""
    found = glob.glob(os.path.join(cache, "kernel/boot/vmlinuz-*-cloud-amd64"))
    if not found:
        os.makedirs(cache, exist_ok=True)
        depends = run("apt-cache", "depends", "linux-image-cloud-amd64").stdout
        package = re.search(r"Depends: (linux-image-6\S+-cloud-amd64)", depends).group(1)
        run("apt-get", "download", package, cwd=cache)
        deb = glob.glob(os.path.join(cache, package + "_*.deb"))[0]
        tmp = os.path.join(cache, "kernel.tmp")
        shutil.rmtree(tmp, ignore_errors=True)
        run("dpkg", "-x", deb, tmp)
        os.rename(tmp, os.path.join(cache, "kernel"))
        found = glob.glob(os.path.join(cache, "kernel/boot/vmlinuz-*-cloud-amd64"))
    release = os.path.basename(found[0])[len("vmlinuz-"):]
    base = os.path.join(cache, "kernel")
    modules = [p for p in (os.path.join(base, d, release) for d in ("lib/modules", "usr/lib/modules")) if os.path.isdir(p)][0]
    return found[0], modules, release


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


def make_initramfs(modules, out):
    """Loads the front ends and goes on in the root file system on xvda."""
    ramdisk.make(out, ramdisk.to_disk(), modules, MODULES)


def make_disk(program, out, pattern_mib, address=GUEST_ADDRESS, journal=""):
    tree = out + ".tree"
    shutil.rmtree(tree, ignore_errors=True)
    for d in ("bin", "sbin", "usr/bin", "etc", "proc", "sys", "dev", "tmp", "data", "root"):
        os.makedirs(os.path.join(tree, d))
    shutil.copy2(ramdisk.busybox(), os.path.join(tree, "bin/busybox"))
    for applet in run(ramdisk.busybox(), "--list").stdout.split():
        if applet != "busybox":
            os.symlink("/bin/busybox", os.path.join(tree, "bin", applet))
    for name in ("init", "poweroff", "reboot"):    # the kernel calls the last two when the toolstack asks for a shutdown
        os.symlink("/bin/busybox", os.path.join(tree, "sbin", name))
    shutil.copy2(program, os.path.join(tree, "usr/bin/demo-guest"))
    write(os.path.join(tree, "etc/inittab"), GUEST_INITTAB.format(pattern_mib=pattern_mib, journal=journal))
    write(os.path.join(tree, "etc/rcS"), GUEST_RCS.format(address=address), 0o755)
    with open(out, "wb") as f:
        f.truncate(DISK_MIB << 20)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, out)
    shutil.rmtree(tree)


def config(name="demo", memory=256, vcpus=2, folder="/srv/demo", iqn=IQN, mac=MAC, extra="", luns=1):
    disk = "', '".join(f"vdev=xvd{'abc'[i]},access=rw,script=block-iscsi,target=iqn={iqn},portal={CLUSTER_NET}.100:3260,lun={i + 1}"
                       for i in range(luns))
    return (f"# The demo guest: an ordinary xl.cfg\nname = '{name}'\ntype = 'pv'\nkernel = '{folder}/vmlinuz'\n"
            f"ramdisk = '{folder}/initrd'\nextra = 'console=hvc0 quiet {extra}'\nmemory = {memory}\nvcpus = {vcpus}\n"
            f"disk = [ '{disk}' ]\nvif = [ 'mac={mac},bridge=xenbr0' ]\non_reboot = 'restart'\non_crash = 'restart'\n")


def export_lun(tb, image, iqn=IQN, tid=1, luns=1, mib=16):
    """The image becomes LUN 1 of a target on the storage node; further LUNs are empty disks of mib MiB."""
    dest = os.path.join(tb.root(STORAGE), f"srv/lun{tid}.img")
    os.makedirs(os.path.dirname(dest), exist_ok=True)
    shutil.copyfile(image, dest)
    adm = ("tgtadm", "--lld", "iscsi", "--op")
    for _ in range(50):
        if tb.sh(STORAGE, *adm, "show", "--mode", "sys", check=False).returncode == 0:
            break
        time.sleep(0.1)
    tb.sh(STORAGE, *adm, "new", "--mode", "target", "--tid", str(tid), "-T", iqn)
    tb.sh(STORAGE, *adm, "new", "--mode", "logicalunit", "--tid", str(tid), "--lun", "1", "-b", f"/srv/lun{tid}.img")
    for lun in range(2, luns + 1):
        tb.sh(STORAGE, "truncate", "-s", f"{mib}M", f"/srv/lun{tid}.{lun}.img")
        tb.sh(STORAGE, *adm, "new", "--mode", "logicalunit", "--tid", str(tid), "--lun", str(lun), "-b", f"/srv/lun{tid}.{lun}.img")
    tb.sh(STORAGE, *adm, "bind", "--mode", "target", "--tid", str(tid), "-I", "ALL")


def install_on_nodes(tb, vmlinuz, initrd, cfg, name="demo", folder="srv/demo"):
    """Kernel, ramdisk and xl.cfg on every node, as an operator would copy them."""
    for n in tb.nodes:
        up = tb.root(n)
        for src, dst in ((vmlinuz, "vmlinuz"), (initrd, "initrd")):
            os.makedirs(os.path.join(up, folder), exist_ok=True)
            shutil.copyfile(src, os.path.join(up, folder, dst))
        write(os.path.join(up, f"etc/xen/{name}.cfg"), cfg)
