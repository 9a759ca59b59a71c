# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages of any suite for the tests' guests: downloaded and unpacked into a cache folder, never installed.

apt does it with a source list and state of its own: the host's sources and packages stay as they are.
"""
import contextlib
import fcntl
import glob
import hashlib
import os
import re
import shutil
import subprocess

import demo
import ramdisk

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# every PV kernel the tests boot: (package that depends on the newest one, suite); None: the demo guest's, as the host's apt has it
KERNELS = {
    "6.1-amd64": ("linux-image-amd64", "bookworm"),
    "6.1-cloud": None,
    "6.12-cloud": ("linux-image-cloud-amd64", "bookworm-backports"),
}


def mirror():
    """The Debian mirror that the host's own sources name."""
    for f in ["/etc/apt/sources.list"] + sorted(glob.glob("/etc/apt/sources.list.d/*")):
        if not os.path.isfile(f):
            continue
        for line in open(f, errors="replace"):
            words = line.split()
            if not words or words[0] not in ("deb", "URIs:"):
                continue
            for w in words[1:]:
                if "://" in w and w.rstrip("/").endswith("/debian"):
                    return w
    return "http://deb.debian.org/debian"


@contextlib.contextmanager
def cache_lock(cache):
    """One download at a time: tests may share a cache."""
    os.makedirs(cache, exist_ok=True)
    with open(os.path.join(cache, "lock"), "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


class Apt:
    """apt-get and apt-cache over Debian's own suites, with lists and cache in WORK."""

    def __init__(self, work, suites=("bookworm", "bookworm-backports")):
        self.work = work
        for d in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(work, d), exist_ok=True)
        with open(os.path.join(work, "sources.list"), "w") as f:
            for suite in suites:
                f.write(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n")
        self.options = ["-q", "-o", f"Dir::Etc::sourcelist={work}/sources.list", "-o", "Dir::Etc::sourceparts=/dev/null",
                        "-o", f"Dir::State::lists={work}/lists", "-o", f"Dir::Cache={work}/cache", "-o", "APT::Sandbox::User=root"]
        self.run("apt-get", "-o", "APT::Update::Error-Mode=any", "update")

    def run(self, tool, *args, cwd=None):
        r = subprocess.run([tool, *self.options, *args], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if r.returncode:
            raise RuntimeError(f"{tool} {' '.join(args)}: {r.stdout[-600:]}")
        return r.stdout

    def depends(self, package, suite, pattern):
        """The first dependency of SUITE's PACKAGE that matches."""
        versions = self.run("apt-cache", "madison", package)
        for line in versions.split("\n"):
            words = [w.strip() for w in line.split("|")]
            if len(words) == 3 and f" {suite}/main" in words[2]:
                m = re.search(rf"Depends: ({pattern})", self.run("apt-cache", "depends", f"{package}={words[1]}"))
                if m:
                    return m.group(1)
        raise RuntimeError(f"{suite} has no {package}: {versions}")

    def unpack(self, packages, dest):
        """Downloads the packages and unpacks them into the folder DEST, which is there when they all are."""
        tmp = dest + ".tmp"
        debs = os.path.join(self.work, "debs")
        for d in (tmp, debs, dest):
            shutil.rmtree(d, ignore_errors=True)
        os.makedirs(debs)
        self.run("apt-get", "download", *packages, cwd=debs)
        for deb in glob.glob(debs + "/*.deb"):
            subprocess.run(["dpkg", "-x", deb, tmp], check=True)
        shutil.rmtree(debs)
        os.rename(tmp, dest)


def unpacked(cache, name, packages_of):
    """Folder NAME of the cache; packages_of(apt) names what is unpacked there the first time."""
    dest = os.path.join(cache, name)
    with cache_lock(cache):
        if not os.path.isdir(dest):
            apt = Apt(os.path.join(cache, "apt.work"))
            apt.unpack(packages_of(apt), dest)
            shutil.rmtree(apt.work)
    return dest


def kernel(cache, name):
    """(vmlinuz, modules folder, release) of one of KERNELS."""
    if not KERNELS[name]:
        with cache_lock(cache):
            return demo.fetch_kernel(cache)
    package, suite = KERNELS[name]
    base = unpacked(cache, "kernel-" + name, lambda apt: [apt.depends(package, suite, r"linux-image-6\S+-amd64")])
    vmlinuz = glob.glob(base + "/boot/vmlinuz-*")[0]
    release = os.path.basename(vmlinuz)[len("vmlinuz-"):]
    modules = [p for p in (os.path.join(base, d, release) for d in ("lib/modules", "usr/lib/modules")) if os.path.isdir(p)][0]
    return vmlinuz, modules, release


def grub(cache):
    """GRUB as a PV kernel: reads /boot/grub/grub.cfg of the guest's disk."""
    return unpacked(cache, "grub-xen", lambda apt: ["grub-xen-host"]) + "/usr/lib/grub-xen/grub-x86_64-xen.bin"


def ext4(out, tree, mib):
    """A raw ext4 image of the folder TREE.  Without what GRUB 2.06 cannot read."""
    with open(out, "wb") as f:
        f.truncate(mib << 20)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^metadata_csum_seed,^orphan_file", "-d", tree, out], check=True)


# the userland the long tests boot: a login, what compiles Haven (./check's list), what puts it under stress
USERLAND = ["systemd-sysv", "dbus", "login", "util-linux", "kmod", "udev", "iproute2", "procps", "stress-ng"]
USERLAND_MIB = 4096
ROOT_PASSWORD = "in-a-guest"


def packages_to_build():
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../prepare.sh")) as f:
        return re.search(r'PACKAGES_BUILD="(.*?)"', f.read().replace("\\\n", ""), re.S).group(1).split()


def userland(cache, kernel_name="6.1-cloud"):
    """A raw ext4 image with Debian 12, its kernel's modules in it; made by mmdebstrap the first time.  Never to be booted itself."""
    image = os.path.join(cache, "userland.img")
    vmlinuz, modules, release = kernel(cache, kernel_name)
    with cache_lock(cache):
        if os.path.exists(image):
            return image
        tree = image + ".tree"
        shutil.rmtree(tree, ignore_errors=True)
        os.makedirs(tree)
        ramdisk.module_files(modules, ["ext4"])                                   # depmod
        script = (f"echo root:{ROOT_PASSWORD} | chroot \"$1\" chpasswd; echo debian >\"$1/etc/hostname\"; "
                  f"echo '127.0.0.1 localhost debian' >\"$1/etc/hosts\"; rm -f \"$1\"/etc/apt/sources.list; "
                  f"rm -rf \"$1\"/var/cache/apt/archives/*.deb; mkdir -p \"$1/lib/modules\"; cp -a '{modules}' \"$1/lib/modules/{release}\"")
        subprocess.run(["mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--include=" + ",".join(USERLAND + packages_to_build()),
                        "--customize-hook=" + script, "bookworm", tree,
                        f"deb [signed-by={KEYRING}] {mirror()} bookworm main"], check=True)
        ext4(image + ".tmp", tree, USERLAND_MIB)
        shutil.rmtree(tree)
        os.rename(image + ".tmp", image)
    return image


def repository(folder, debs):
    """A flat apt repository of the files DEBS, without a signature."""
    os.makedirs(folder)
    with open(os.path.join(folder, "Packages"), "w") as f:
        for deb in debs:
            shutil.copy(deb, folder)
            fields = subprocess.run(["dpkg-deb", "-f", deb], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
            digest = hashlib.sha256(open(deb, "rb").read()).hexdigest()
            f.write(f"{fields}\nFilename: ./{os.path.basename(deb)}\nSize: {os.path.getsize(deb)}\nSHA256: {digest}\n\n")


def downloaded(cache, name, packages):
    """The .deb files of PACKAGES, in folder NAME of the cache."""
    dest = os.path.join(cache, name)
    with cache_lock(cache):
        if not os.path.isdir(dest):
            apt = Apt(os.path.join(cache, "apt.work"))
            shutil.rmtree(dest + ".tmp", ignore_errors=True)
            os.makedirs(dest + ".tmp")
            apt.run("apt-get", "download", *packages, cwd=dest + ".tmp")
            shutil.rmtree(apt.work)
            os.rename(dest + ".tmp", dest)
    return sorted(glob.glob(dest + "/*.deb"))
