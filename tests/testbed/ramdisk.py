# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's ramdisk: its first program, busybox, kernel modules in the order to load them, and what else it brings."""
import lzma
import os
import re
import shutil
import subprocess

FOLDERS = ("bin", "sbin", "proc", "sys", "dev", "tmp", "root", "modules")
# Begins the scripts below: what every first program does.
SETUP = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for m in $(cat /modules/order); do insmod /modules/$m; done
"""
TO_ROOT = """mount --move /dev /root/dev
mount --move /proc /root/proc
mount --move /sys /root/sys
exec switch_root /root /sbin/init
"""


def to_disk(before="", devices=("xvda",)):
    """A first program that goes on in the ext4 on the first of DEVICES that is there.  before: commands with it mounted at /root."""
    there = " || ".join(f"[ -b /dev/{d} ]" for d in devices)
    mounts = " || ".join(f"mount -t ext4 /dev/{d} /root" for d in devices)
    return SETUP + f"i=0\nuntil {there} || [ $i = 300 ]; do sleep 0.1; i=$((i + 1)); done\n{mounts} || exec sh\n" + before + TO_ROOT


def busybox():
    for p in ("/bin/busybox", "/usr/bin/busybox"):
        if os.path.exists(p):
            return p
    raise RuntimeError("busybox is missing: apt-get install busybox-static")


def module_files(modules, names):
    """Files of the modules and what they need, in load order (modules.dep made by depmod in the unpacked package)."""
    root = modules.split("/lib/modules/")[0]
    if not os.path.exists(os.path.join(modules, "modules.dep.bin")):
        subprocess.run(["depmod", "-b", root, os.path.basename(modules)], check=True)
    deps = {}
    with open(os.path.join(modules, "modules.dep")) as f:
        for line in f:
            mod, _, needs = line.partition(":")
            deps[mod] = needs.split()
    order = []
    builtin = open(os.path.join(modules, "modules.builtin")).read()

    def name_of(path):
        return re.sub(r"\.ko(\.\w+)?$", "", os.path.basename(path)).replace("_", "-")

    def add(path):
        if path not in order:
            for need in deps[path]:
                add(need)
            order.append(path)

    for name in names:
        match = [m for m in deps if name_of(m) == name]
        if match:
            add(match[0])
        elif name not in builtin.replace("_", "-"):
            raise RuntimeError(f"{modules}: no module {name}")
    # ext4 asks for crc32c by its algorithm's name, which no dependency says
    for extra in ("crc32c-generic", "crc32c-intel"):
        for m in deps:
            if name_of(m) == extra and m not in order:
                order.insert(0, m)
    return [os.path.join(modules, m) for m in order]


def put(tree, path, what):
    """what: a script's text, or a file of the host."""
    dest = os.path.join(tree, path)
    os.makedirs(os.path.dirname(dest), exist_ok=True)
    if not what.startswith("#!"):
        shutil.copy2(os.path.realpath(what), dest)
        return
    with open(dest, "w", encoding="utf-8") as f:
        f.write(what)
    os.chmod(dest, 0o755)


def put_modules(tree, modules, names):
    order = []
    for f in module_files(modules, names) if names else []:
        with open(f, "rb") as i:
            data, name = i.read(), os.path.basename(f)
        if name.endswith(".xz"):
            data, name = lzma.decompress(data), name[:-3]
        with open(os.path.join(tree, "modules", name), "wb") as o:
            o.write(data)
        order.append(name)
    with open(os.path.join(tree, "modules/order"), "w", encoding="ascii") as f:
        f.write("".join(n + "\n" for n in order))


def make(out, init, modules=None, names=(), files=()):
    """The ramdisk OUT.

    init: the text of a script, with which busybox comes, or a static program's path.  names: modules, of the unpacked kernel package's folder
    MODULES.  files: (path in the ramdisk, a script's text or the host's file), executable as that is.
    """
    tree = out + ".tree"
    shutil.rmtree(tree, ignore_errors=True)
    for d in FOLDERS:
        os.makedirs(os.path.join(tree, d))
    put(tree, "init", init)
    if init.startswith("#!"):
        put(tree, "bin/busybox", busybox())
    else:
        subprocess.run(["strip", os.path.join(tree, "init")], check=True)
    put_modules(tree, modules, list(names))
    for path, what in files:
        put(tree, path, what)
    found = subprocess.run(["find", "."], cwd=tree, stdout=subprocess.PIPE, check=True).stdout
    with open(out, "wb") as f:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=tree, input=found, stdout=f, check=True)
    shutil.rmtree(tree)
    return out
