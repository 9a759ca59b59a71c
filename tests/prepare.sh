# SPDX-License-Identifier: GPL-2.0-or-later
# prepare.sh - sourced by ./quickstart and ./check: installs the Debian packages they need, builds out of tree.

PACKAGES_BUILD="autoconf automake pkg-config gcc make libc6-dev libqb-dev libcpg-dev libquorum-dev libcmap-dev pacemaker-dev \
libssl-dev libiscsi-dev libzydis-dev libjansson-dev libnl-3-dev libnl-route-3-dev libseccomp-dev liblzma-dev liblz4-dev libzstd-dev \
zlib1g-dev uuid-dev libcmocka-dev libxen-dev libncurses-dev libnftables-dev"
PACKAGES_RUN="python3 corosync pacemaker pacemaker-cli-utils tgt busybox-static cpio e2fsprogs kmod iproute2 util-linux xenstore-utils \
openssl procps"
PACKAGES_TEST="spin nftables"
PACKAGES_LONG="mmdebstrap"
SERVICES="corosync.service pacemaker.service tgt.service"

say() { printf '%s\n' "$*"; }
die() { printf '%s\n' "$0: $*" >&2; exit 1; }

missing_packages() {
	local p
	for p in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null)" = "ii " ] || printf '%s ' "$p"
	done
}

# install_packages PACKAGE...: no service of the host's is started (policy-rc.d says no for as long as apt runs) nor left enabled.
install_packages() {
	local need policy=/usr/sbin/policy-rc.d ours="" s rc=0 before=""
	need=$(missing_packages "$@")
	[ -n "$need" ] || return 0
	[ "$(id -u)" = 0 ] || die "needs root to install: $need"
	say "installing Debian packages: $need"
	for s in $SERVICES; do
		systemctl is-enabled -q "$s" 2>/dev/null && before="$before $s"
	done
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod +x $policy
		ours=1
	fi
	{ apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install $need; } >"$WORK/apt.log" 2>&1 || rc=$?
	[ -z "$ours" ] || rm -f $policy
	[ $rc = 0 ] || { tail -5 "$WORK/apt.log" >&2; die "apt-get failed; see $WORK/apt.log"; }
	for s in $SERVICES; do
		case " $before " in *" $s "*) continue ;; esac
		systemctl disable -q "$s" >/dev/null 2>&1 || true
	done
}

# build_haven BUILDDIR [CONFIGURE OPTION...]: configure and make out of tree, quietly; the log is BUILDDIR/build.log
build_haven() {
	local dir=$1
	shift
	mkdir -p "$dir"
	[ -x "$TOP/configure" ] && [ "$TOP/configure" -nt "$TOP/configure.ac" ] || "$TOP/autogen.sh" >"$dir/autogen.log" 2>&1 ||
		die "autogen.sh failed; see $dir/autogen.log"
	(
		cd "$dir"
		[ -f config.status ] && [ config.status -nt "$TOP/configure" ] ||
			"$TOP/configure" --prefix=/usr --sysconfdir=/etc --localstatedir=/var "$@"
		make -j"$(nproc)"
	) >"$dir/build.log" 2>&1 || {
		tail -20 "$dir/build.log" >&2
		die "the build failed; see $dir/build.log"
	}
}
