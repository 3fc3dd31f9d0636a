#!/bin/sh
# The Debian package on a machine of its own that systemd runs, from installing to purging: booted.sh, in there, does
# what an operator does. The machine is a bare Debian 12 in namespaces of this kernel: its own processes, mounts, network
# (loopback alone), hostname and control groups. Run by `make check-boot` as root; needs debootstrap, util-linux,
# a control group hierarchy of version 2, and a mirror (MIRROR=, default deb.debian.org) for the first run; the
# machine's system is kept in build/package/machine for the next, which takes a minute and a half. Ends with
# "N passed, N failed".
set -u
make=${MAKE:-make}
work=$PWD/${BUILD:-build}/package
root=$work/booted
name=redd-check-boot.$$
mirror=${MIRROR:-http://deb.debian.org/debian}
# What the package asks for, and what booted.sh uses.
packages=systemd,systemd-sysv,dbus,curl,openssl,ca-certificates,iproute2,procps

need() { echo "check-boot $1" >&2; exit 1; }
[ "$(id -u)" = 0 ] || need "starts a system: run it as root"
command -v debootstrap >/dev/null || need "needs debootstrap: apt-get install debootstrap"
groups=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
[ -n "$groups" ] || need "needs control groups of version 2"

# In the machine's namespaces: its control group, with nothing else in it, then its file system, then its systemd. As in
# a container, the kernel's settings are read only, and systemd knows that it is not alone.
if [ "${1:-}" = enter ]; then
	echo 0 >"$groups/$2/cgroup.procs" || exit 1
	exec unshare --cgroup sh "$0" boot
fi
if [ "${1:-}" = boot ]; then
	set -e
	mount --make-rprivate /
	mount --bind "$root" "$root"
	cd "$root"
	mount -t proc proc proc
	mount --bind proc/sys proc/sys
	mount -o remount,bind,ro proc/sys
	mount -t sysfs -o ro sysfs sys
	mount -t cgroup2 cgroup2 sys/fs/cgroup
	mount -t tmpfs -o mode=755,size=16m tmpfs dev
	for node in null zero full random urandom tty; do
		: >dev/$node
		mount --bind /dev/$node dev/$node
	done
	mkdir dev/pts dev/shm
	ln -s /proc/self/fd dev/fd
	ln -s pts/ptmx dev/ptmx
	mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
	mount -t tmpfs -o mode=1777 tmpfs dev/shm
	mount -t tmpfs -o mode=755 tmpfs run
	mount -t tmpfs -o mode=1777 tmpfs tmp
	pivot_root . mnt
	umount -l /mnt
	mount --make-rshared /
	hostname booted
	exec env -i container=check-boot PATH=/usr/sbin:/usr/bin LC_ALL=C.UTF-8 \
		setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-sys_boot /lib/systemd/systemd </dev/null >/dev/null 2>&1
fi

machine=
clean() {
	[ -z "$machine" ] || kill "$machine" 2>/dev/null
	[ -z "$machine" ] || wait "$machine" 2>/dev/null
	find "$groups/$name" -depth -type d -exec rmdir {} + 2>/dev/null
	rm -rf "$root"
}
trap clean EXIT
trap 'exit 1' INT TERM

mkdir -p "$work"
for revision in 1 2; do
	deb=$(env -u MAKEFLAGS COMPRESS=gzip "$make" --no-print-directory -s deb DEB_REVISION=$revision | tail -n 1)
	cp "$deb" "$work/redd-$revision.deb" || exit 1
done
needed=$packages,$(dpkg-deb -f "$work/redd-1.deb" Depends | sed 's/([^)]*)//g; s/ //g')
if [ "$(cat "$work/machine/made-with" 2>/dev/null)" != "$needed" ]; then
	rm -rf "$work/machine"
	debootstrap --variant=minbase --include="$needed" bookworm "$work/machine" "$mirror" >"$work/debootstrap.log" 2>&1 ||
		{ tail -n 5 "$work/debootstrap.log"; exit 1; }
	echo "$needed" >"$work/machine/made-with"
fi
rm -rf "$root"
cp -a "$work/machine" "$root"
mv "$work/redd-1.deb" "$work/redd-2.deb" "$root/root/"
cp tests/package/booted.sh "$root/root/"
rm -f "$root/usr/sbin/policy-rc.d"
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
for unit in console-getty.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer; do
	ln -s /dev/null "$root/etc/systemd/system/$unit" 2>/dev/null
done
cat >"$root/etc/systemd/system/booted.service" <<'UNIT'
[Unit]
SuccessAction=exit
FailureAction=exit
[Service]
Type=exec
Environment=PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
ExecStart=/bin/sh /root/booted.sh
StandardOutput=append:/root/result
StandardError=append:/root/result
UNIT
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../booted.service "$root/etc/systemd/system/multi-user.target.wants/booted.service"
: >"$root/root/result"

mkdir "$groups/$name" || exit 1
timeout 900 unshare --mount --pid --fork --kill-child --ipc --uts --net sh "$0" enter "$name" &
machine=$!
tail -n +1 -f --pid="$machine" "$root/root/result"
wait "$machine"
machine=
tail -n 1 "$root/root/result" | grep -q ' passed, 0 failed$'
