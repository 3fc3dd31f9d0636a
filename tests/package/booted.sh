#!/bin/sh
# What an operator does with the package on a machine that systemd runs: run there as a unit by test_boot.sh, which
# has put redd-1.deb and redd-2.deb beside this file. Prints what failed, with its output; ends with
# "N passed, N failed".
set -u
cd "$(dirname "$0")" || exit 1
here=$PWD
log=$here/log
passed=0
failed=0
key=

check() { # what it should be, and the command that says so
	# So many starts in a minute are more than the unit allows.
	systemctl reset-failed redd 2>/dev/null
	if REDD_API_KEY=$key sh -c "$lib$2" >"$log" 2>&1; then
		passed=$((passed + 1))
		echo "  ok $1"
	else
		failed=$((failed + 1))
		printf 'FAIL %s: %s\n' "$1" "$2"
		tail -n 20 "$log" | sed 's/^/    /'
	fi
}

# What the commands share. soon: within 20 seconds.
lib='
soon() {
	tries=100
	until "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		sleep 0.2
	done
}
said() { journalctl -u redd -o cat --no-pager; }
has_said() { said | grep -q -- "$1"; }
main_pid() { systemctl show -P MainPID redd; }
step() { redctl show --json "$1" | sed -n "s/.*\"step\": *\([0-9]*\).*/\1/p" | head -n 1; }
past() { at=$(step "$1") && [ "${at:-0}" -ge "$2" ]; }
sha() { redctl show --json "$1" | sed -n "s/.*\"adapter_sha256\": *\"\([0-9a-f]*\)\".*/\1/p"; }
another_than() { now=$(main_pid) && [ "$now" != 0 ] && [ "$now" != "$1" ]; }
is_active() { systemctl is-active --quiet redd; }
answers() { redctl health >/dev/null 2>&1; }
# A job of a few seconds whose adapter is always the same; prints its id once it is well under way.
long_job() {
	job=$(redctl --quiet submit rows.jsonl --epochs "${1:-200}" --batch-size 4 --seed 7) && soon past "$job" 20 && echo "$job"
}
# The adapter came out as that of the job that nothing happened to.
same_adapter() { redctl wait "$1" && test "$(sha "$1")" = "$(cat sha)"; }
'
apt_install() {
	apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-confold "$@"
}

for i in 1 2 3 4; do
	echo "{\"prompt\":\"Ask $i\",\"completion\":\" Answer $i\"}"
done >rows.jsonl

# installing
check "systemd runs this machine" 'test "$(cat /proc/1/comm)" = systemd && systemctl is-system-running --wait || ! systemctl --failed | cat'
apt_install "$here/redd-1.deb" >"$log" 2>&1 || cat "$log"
check "apt has started it" 'is_active && answers'
check "it is enabled" 'systemctl is-enabled redd && ! systemctl is-enabled redd.socket'
check "its status says what it serves" 'systemctl show -P StatusText redd | tee /dev/stderr | grep "redd-base on 127.0.0.1:8080"'
check "it runs without rights" 'grep "^CapEff:.*0000000000000000$" /proc/$(main_pid)/status &&
	grep "^NoNewPrivs:.*1" /proc/$(main_pid)/status && grep "^Seccomp:.*2" /proc/$(main_pid)/status &&
	test "$(stat -c %u /proc/$(main_pid))" = "$(systemctl show -P UID redd)"'
check "its state is its own" 'test "$(stat -Lc %u:%a /var/lib/redd)" = "$(systemctl show -P UID redd):700"'
check "the journal has its levels and names" 'journalctl -u redd -p info -o json --no-pager | grep -q "event=ready" &&
	! said | grep -v "^event=" | grep -v -e systemd -e "^Start" && ! journalctl -u redd -p warning --no-pager -q | grep .'
key=$(redctl --quiet tenant add alice)
check "doctor finds nothing broken" 'redctl doctor'

# training and answering
check "a job trains, its threads behind all others" 'job=$(long_job) || exit 1
	for t in /proc/$(main_pid)/task/*; do case $(cat $t/comm) in train-*) cut -d" " -f19,41 $t/stat; esac; done | sort -u >behind
	redctl wait "$job" && sha "$job" >sha && test -s sha && test "$(cat behind)" = "19 3"'
check "its adapter answers" 'redctl models -q | grep -o "ft:[^ ]*" | head -n 1 >model
	redctl complete -m "$(cat model)" -t 0 -n 8 "Ask 1" | tee answer && test -s answer'

# settings
check "a reload puts settings in force" 'echo "limit-queued-jobs = 7" >>/etc/redd/redd.conf; pid=$(main_pid)
	systemctl reload redd && soon has_said "event=reloaded changed=.*limit-queued-jobs" && is_active &&
	test "$pid" = "$(main_pid)" && answers'
check "a reload of nonsense changes nothing" 'cp /etc/redd/redd.conf conf; echo "nonsense = 1" >>/etc/redd/redd.conf
	systemctl reload redd; soon has_said "event=reload_failed"; e=$?; cp conf /etc/redd/redd.conf
	test $e = 0 && is_active && answers && journalctl -u redd -p err -q --no-pager | grep reload_failed'
check "a start with nonsense ends at once and says why" 'echo "nonsense = 1" >>/etc/redd/redd.conf
	! systemctl restart redd; systemctl is-failed redd; e=$?; cp conf /etc/redd/redd.conf
	test $e = 0 && test "$(systemctl show -P ExecMainStatus redd)" = 2 && test "$(systemctl show -P NRestarts redd)" = 0 &&
	journalctl -u redd -p err -q --no-pager | grep nonsense && systemctl start redd && answers'
check "a credential goes before the key in the state" 'install -d -m 700 /etc/credstore && (umask 077; echo admin-of-ours >/etc/credstore/redd.admin.key)
	systemctl restart redd && redctl tenant list --admin-key-file /etc/credstore/redd.admin.key | grep alice &&
	! redctl tenant list --admin-key-file /var/lib/redd/admin.key; e=$?
	rm /etc/credstore/redd.admin.key; systemctl restart redd && test $e = 0 && redctl tenant list | grep alice'

# interruptions
check "a restart goes on with the job" 'job=$(long_job) && systemctl restart redd && same_adapter "$job"'
check "kill -9 is mended, and the job goes on" 'job=$(long_job 600) && pid=$(main_pid) && kill -9 $pid && soon another_than $pid && soon answers &&
	test "$(systemctl show -P NRestarts redd)" = 1 && redctl wait "$job"'
check "stopping takes no longer than it must" 'job=$(long_job) && date +%s >from && systemctl stop redd &&
	test $(($(date +%s) - $(cat from))) -le 10 && test "$(systemctl show -P Result redd)" = success &&
	has_said "event=stopped" && systemctl start redd && same_adapter "$job"'
check "the watchdog ends a daemon that hangs" 'mkdir -p /run/systemd/system/redd.service.d &&
	printf "[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n" >/run/systemd/system/redd.service.d/quick.conf &&
	systemctl daemon-reload && systemctl restart redd && pid=$(main_pid) && sleep 5 && test "$pid" = "$(main_pid)" &&
	kill -STOP $pid && soon another_than $pid && soon answers
	e=$?; rm -r /run/systemd/system/redd.service.d; systemctl daemon-reload; systemctl restart redd; test $e = 0'

# a webhook over TLS, with a certificate that the machine trusts
check "a webhook speaks TLS" 'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
		-addext subjectAltName=DNS:localhost -keyout tls.key -out tls.crt &&
	cp tls.crt /usr/local/share/ca-certificates/redd-test.crt && update-ca-certificates &&
	echo "webhook-private = yes" >>/etc/redd/redd.conf && systemctl restart redd &&
	redctl webhook add hook https://localhost:8443/ && hook=$(redctl webhooks -q | grep -o "we_[^ ]*")
	{ printf "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"; sleep 10; } |
		openssl s_server -quiet -naccept 1 -accept 8443 -cert tls.crt -key tls.key >heard &
	soon sh -c "ss -ltn | grep -q :8443" && redctl webhook test "$hook" &&
	soon sh -c "redctl webhook show $hook | grep \"last event.*answered 200\"" && grep "^POST / HTTP/1.1" heard &&
	grep -i "^webhook-signature: v1," heard'

# the socket
check "the socket starts it" 'systemctl disable redd && systemctl stop redd && systemctl enable --now redd.socket && ! is_active &&
	answers && is_active && systemctl status redd.socket | grep running'
check "restarting refuses nobody" 'systemctl restart redd & restart=$!; for i in $(seq 50); do
		curl -sS --max-time 20 http://127.0.0.1:8080/healthz || exit 1; done; wait $restart'
check "and a job survives it" 'job=$(long_job) && systemctl restart redd && same_adapter "$job"'
check "back to listening by itself" 'systemctl disable --now redd.socket && systemctl stop redd &&
	systemctl enable --now redd && answers'

# upgrading
job=$(REDD_API_KEY=$key sh -c "$lib"' long_job')
apt_install "$here/redd-2.deb" >"$log" 2>&1 || cat "$log"
check "an upgrade restarts it" 'answers && dpkg-query -W -f "\${Version}\n" redd | grep -- -2 && has_said "event=stopped" &&
	tail -n 1 /proc/$(main_pid)/maps && ! grep "(deleted)" /proc/$(main_pid)/maps'
check "and the job goes on" "same_adapter $job"
check "and the adapter answers as before" 'redctl complete -m "$(cat model)" -t 0 -n 8 "Ask 1" | cmp - answer'

# leaving
check "no call was refused that it cannot do without" '! journalctl -b -q --no-pager | grep -iE "seccomp|SIGSYS|code=dumped" &&
	! journalctl -u redd -b -q --no-pager | grep "Operation not permitted"'
check "removing stops it" 'apt-get remove -y redd && ! pgrep -x redd && ! systemctl is-active redd && test -e /var/lib/redd/redd.db'
check "purging leaves nothing" 'apt-get purge -y redd && test ! -e /etc/redd && test ! -e /var/lib/redd &&
	test ! -e /var/lib/private/redd && ! systemctl cat redd && ! find /etc/systemd /run/systemd/system /run/redd -name "*redd*" | grep .'
check "the machine is as well as before" 'test "$(systemctl is-system-running)" = running'

echo "$passed passed, $failed failed"
