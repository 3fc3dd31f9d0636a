#!/bin/sh
# Every test in every variant, then the rules of the house. The last line is "N passed, N failed" over all.
# Sanitizers stop at the first finding; a leak is one.
set -u
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0}"
export TSAN_OPTIONS="${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0
failed=0

run() { # a title and a command that ends with "N passed, N failed"
	title=$1
	shift
	echo "== $title"
	"$@" >"$log" 2>&1
	rc=$?
	grep -v -e '^  CC ' -e '^  LINK ' -e ' passed, ' "$log"
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1)
	p=${line%% passed*}
	f=${line##*, }
	f=${f%% failed*}
	[ -n "$line" ] || { p=0; f=0; }
	[ "$rc" -ne 0 ] && [ "$f" -eq 0 ] && f=1
	passed=$((passed + p))
	failed=$((failed + f))
}

run "rules" sh tests/rules/rules.sh
run "plain" make --no-print-directory VARIANT=release check-variant
run "address and undefined-behaviour sanitizers" make --no-print-directory VARIANT=asan check-variant
run "thread sanitizer" make --no-print-directory VARIANT=tsan check-tsan
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
