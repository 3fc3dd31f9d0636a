#!/bin/sh
# Run test programs one after the other, show what fails, and count: the last line is "N passed, N failed".
# Each program is cmocka's; its TAP output is kept beside it in PROGRAM.log.
passed=0
failed=0
for t in "$@"; do
	log="$t.log"
	CMOCKA_MESSAGE_OUTPUT=tap timeout "${TEST_TIMEOUT:-240}" "$t" >"$log" 2>&1
	rc=$?
	ok=$(grep -c '^ok ' "$log")
	bad=$(grep -c '^not ok ' "$log")
	[ "$rc" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
	[ "$ok" -eq 0 ] && [ "$bad" -eq 0 ] && bad=1
	passed=$((passed + ok))
	failed=$((failed + bad))
	if [ "$bad" -ne 0 ]; then
		echo "FAIL $t (exit $rc, $ok passed, $bad failed)"
		tail -n 60 "$log" | sed 's/^/    /'
	else
		echo "  ok $t ($ok)"
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
