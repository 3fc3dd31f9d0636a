#!/bin/sh
# The Debian package in a bare Debian 12 of its own: installed with apt, started, used, upgraded with a job's
# adapter in the state, removed, purged. Run by `make check-deb` as root; needs debootstrap and a mirror
# (MIRROR=, default deb.debian.org). The base system is kept in build/package/base for the next run.
# Ends with "N passed, N failed".
set -u
make=${MAKE:-make}
work=$PWD/${BUILD:-build}/package
root=$work/root
mirror=${MIRROR:-http://deb.debian.org/debian}
passed=0
failed=0

[ "$(id -u)" = 0 ] || { echo "check-deb makes a chroot: run it as root" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "check-deb needs debootstrap: apt-get install debootstrap" >&2; exit 1; }

inside() {
	chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
		REDD_API_KEY="${key:-}" sh -c "$1"
}

check() { # what it should be, and the command that says so
	if inside "$2" >"$work/log" 2>&1; then
		passed=$((passed + 1))
		echo "  ok $1"
	else
		failed=$((failed + 1))
		echo "FAIL $1: $2"
		tail -n 20 "$work/log" | sed 's/^/    /'
	fi
}

daemon=
start() { # as the unit does it: an unprivileged user, its state in /var/lib/redd
	rm -f "$root/tmp/address"
	inside 'install -d -m 700 -o nobody -g nogroup /var/lib/redd; echo $$ >/tmp/pid
		exec setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME=/nonexistent STATE_DIRECTORY=/var/lib/redd \
		redd --port-file /tmp/address' >"$work/daemon.log" 2>&1 &
	daemon=$!
	# Ready once it has written its address; the directory tells, nothing polls longer than it must.
	i=0
	while [ ! -s "$root/tmp/address" ] && [ $i -lt 300 ]; do
		sleep 0.1
		i=$((i + 1))
	done
}
stop() {
	[ -z "$daemon" ] || kill "$(cat "$root/tmp/pid")" && wait "$daemon"
	daemon=
}

clean() {
	[ -z "$daemon" ] || stop
	umount "$root/proc" 2>/dev/null
	rm -rf "$root"
}
trap clean EXIT

mkdir -p "$work"
if [ ! -e "$work/base/usr/bin/dpkg" ]; then
	rm -rf "$work/base"
	debootstrap --variant=minbase bookworm "$work/base" "$mirror" >"$work/debootstrap.log" 2>&1 ||
		{ tail -n 5 "$work/debootstrap.log"; exit 1; }
fi
rm -rf "$root"
cp -a "$work/base" "$root"
mount --bind /proc "$root/proc"
cp /etc/resolv.conf "$root/etc/resolv.conf"
for revision in 1 2; do
	deb=$(COMPRESS=gzip "$make" --no-print-directory -s deb DEB_REVISION=$revision | tail -n 1)
	cp "$deb" "$root/tmp/redd-$revision.deb"
done
inside 'apt-get update' >"$work/log" 2>&1

# installing
check "apt installs it with what it needs" 'apt-get install -y --no-install-recommends /tmp/redd-1.deb'
check "every file is as packed" '! dpkg -V redd | grep .'
check "the unit is enabled" 'test -L /etc/systemd/system/multi-user.target.wants/redd.service'
check "the socket is left to the operator" 'test ! -e /etc/systemd/system/sockets.target.wants/redd.socket'
check "the programs run" 'redd --version && redctl --version && redd --check'
check "nothing stands outside its places" '! dpkg -L redd | grep -vE "^/(\.|etc(/redd.*)?|usr(/(bin|lib|share).*)?)$"'

# using
start
check "it becomes ready as the unit's user" 'redctl health'
key=$(inside 'redctl tenant add alice')
check "doctor finds nothing broken" 'redctl doctor'
check "a job trains and its adapter answers" 'for i in 1 2 3 4; do
		echo "{\"prompt\":\"Ask $i\",\"completion\":\" Answer $i\"}"; done >/tmp/rows.jsonl
	redctl submit /tmp/rows.jsonl --epochs 1 --batch-size 4 --watch >/tmp/model &&
	redctl complete -m "$(cat /tmp/model)" -t 0 -n 8 "Ask 1" >/tmp/answer'
stop

# upgrading
check "the operator's configuration" 'echo "log-format = json" >>/etc/redd/redd.conf; systemctl --root=/ disable redd.service ||
	rm /etc/systemd/system/multi-user.target.wants/redd.service'
check "apt upgrades it" 'apt-get install -y -o Dpkg::Options::=--force-confold /tmp/redd-2.deb &&
	dpkg-query -W -f "\${Version}" redd | grep -- -2'
check "the configuration stayed" 'grep "log-format = json" /etc/redd/redd.conf'
check "disabled stays disabled" 'test ! -e /etc/systemd/system/multi-user.target.wants/redd.service'
start
check "the adapter answers as before" 'redctl complete -m "$(cat /tmp/model)" -t 0 -n 8 "Ask 1" | cmp - /tmp/answer'
stop

# leaving
check "removing leaves settings and state" 'apt-get remove -y redd && test ! -e /usr/bin/redd &&
	test -e /etc/redd/redd.conf && test -e /var/lib/redd/redd.db'
check "it can come back to its state" 'apt-get install -y /tmp/redd-2.deb && redd --check'
check "purging leaves nothing" 'apt-get purge -y redd && rm -f /tmp/redd-*.deb &&
	! find / -xdev \( -path /proc -o -path /tmp -o -path /var/lib/apt -o -path /var/cache/apt \) -prune -o -name "*redd*" -print |
	grep . && ! dpkg-query -W redd'

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
