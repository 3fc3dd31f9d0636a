#!/bin/sh
# Run test programs, as many at a time as there are cores, show what fails, and count: the last line is
# "N passed, N failed". Each program is cmocka's; its TAP output is kept beside it in PROGRAM.log.
#   sh tests/run.sh PROGRAM...
one() { # a program; a line for it, and its counts in PROGRAM.count
	log="$1.log"
	CMOCKA_MESSAGE_OUTPUT=tap timeout "${TEST_TIMEOUT:-240}" "$1" >"$log" 2>&1
	rc=$?
	ok=$(grep -c '^ok ' "$log")
	bad=$(grep '^not ok ' "$log" | grep -vc ' # SKIP ') # so cmocka says of what it skips
	[ "$rc" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
	[ "$ok" -eq 0 ] && [ "$bad" -eq 0 ] && bad=1
	echo "$ok $bad" >"$1.count"
	if [ "$bad" -eq 0 ]; then
		echo "  ok $1 ($ok)"
		return
	fi
	# In one write, so that others' lines do not come between.
	printf 'FAIL %s (exit %s, %s passed, %s failed)\n%s\n' "$1" "$rc" "$ok" "$bad" \
		"$(tail -n 60 "$log" | sed 's/^/    /')"
}

if [ "$1" = --one ]; then
	one "$2"
	exit
fi
for t in "$@"; do rm -f "$t.count"; done
# The longest ones come last in the alphabet: begin with them, so that no core is left waiting for one.
printf '%s\n' "$@" | tac | xargs -P "$(nproc)" -n 1 sh "$0" --one
passed=0
failed=0
for t in "$@"; do
	read -r ok bad 2>/dev/null <"$t.count" || { ok=0; bad=1; }
	passed=$((passed + ok))
	failed=$((failed + bad))
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
