#!/bin/sh
# The rules of the house that a program can check: who may include whom, who may see which library, what
# only main.c may do. Ends with "N passed, N failed".
cd "$(dirname "$0")/../.." || exit 1
passed=0
failed=0

verdict() { # a rule's name and what broke it, one line each
	if [ -n "$2" ]; then
		echo "FAIL rule: $1"
		echo "$2" | sed 's/^/    /'
		failed=$((failed + 1))
	else
		passed=$((passed + 1))
	fi
}

# The room of a path, as the rules below know it.
room() {
	case $1 in
	core/* | daemon/core/*) echo core ;;
	daemon/ctl/*) echo ctl ;;
	storage/*) echo storage ;;
	worker/*/*) r=${1#worker/}; echo "${r%%/*}" ;;
	worker/*) echo worker ;;
	api/*) echo api ;;
	daemon/*) echo daemon ;;
	tests/*) echo tests ;;
	esac
}

# Rooms whose headers a room may include, besides its own and core's.
allowed() {
	case $1 in
	core) ;;
	ctl) ;;
	storage) ;;
	math) ;;
	text) ;;
	adapter) echo "math" ;;
	model) echo "math adapter" ;;
	train) echo "math adapter model text" ;;
	serve) echo "math adapter model text" ;;
	worker) echo "math adapter model text train serve storage" ;;
	api) echo "worker storage adapter model text train serve" ;;
	daemon) echo "api worker storage math model text serve adapter train" ;;
	esac
}

sources=$(find daemon storage worker api -name '*.c' -o -name '*.h' | sort)

broken=""
for f in $sources; do
	from=$(room "$f")
	for inc in $(sed -n 's/^#[ \t]*include "\([^"]*\)".*/\1/p' "$f"); do
		to=$(room "$inc")
		[ -n "$to" ] || { broken="$broken$f includes $inc, which is in no room
"; continue; }
		[ "$to" = "$from" ] && continue
		[ "$to" = core ] && [ "$from" != core ] && continue
		case " $(allowed "$from") " in
		*" $to "*) ;;
		*) broken="$broken$f ($from) includes $inc ($to)
" ;;
		esac
	done
done
verdict "includes follow core <- storage <- worker <- api <- daemon, and math <- adapter <- model <- train, serve" "$broken"

only() { # a rule's name, a pattern of includes, and the paths that may have it
	bad=$(grep -lE "$2" $sources | grep -vE "$3")
	verdict "$1" "$bad"
}
only "only benchmarks see OpenBLAS" '#[ ]*include <(cblas|openblas|lapacke)' '^tests/bench/'
only "only server.c sees libmicrohttpd" '#[ ]*include <microhttpd' '^api/server\.c$'
only "only storage/ sees SQLite" '#[ ]*include <sqlite3' '^storage/'
only "only ctl/ and webhook_pump.c see libcurl" '#[ ]*include <curl/' '^(daemon/ctl/|api/webhook_pump\.c$)'
only "only daemon/ sees systemd" '#[ ]*include <systemd/' '^daemon/[a-z_]*\.[ch]$'
only "only the loop's rooms see libuv" '#[ ]*include <uv' '^(api|daemon)/'
only "no SQL outside storage/" '"(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE) ' '^storage/'

bad=$(grep -nE '(^|[^_a-zA-Z])(exit|abort|_exit|quick_exit)\(' $(echo "$sources" | grep -v '/main\.c$') | grep -vE '^\S+:\s*(/?\*|//)')
verdict "no exit or abort outside main.c" "$bad"

bad=$(grep -lE '(^|[^_a-z])log_(event|debug|info|warn|error)\(' $sources |
	grep -E '^(storage|worker/(math|text|adapter|model|train|serve))/')
verdict "library rooms return errors and do not log" "$bad"

bad=$(grep -nE '(malloc|calloc|realloc|strdup|aligned_alloc)\(' $sources | grep -vE '(mem_[a-z]*\(|daemon/core/mem\.c)' )
verdict "memory comes from core/mem.h" "$bad"

bad=$(grep -nE '[^a-z_](sleep|usleep|nanosleep)\(' $(echo "$sources" | grep -v '^daemon/ctl/'))
verdict "nothing in the daemon sleeps" "$bad"

bad=$(wc -l $sources | awk '$2 != "total" && $1 > 800 {print $2, $1, "lines"}')
verdict "no file is longer than 800 lines" "$bad"

bad=""
for h in $(echo "$sources" | grep '\.h$'); do
	case $(head -c 2048 "$h") in *"included only by"*) continue ;; esac
	printf '#include "%s"\n' "${h#daemon/}" | sed 's|"core/|"core/|' |
		${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -I. -Idaemon -fsyntax-only -x c - 2>/dev/null || bad="$bad$h
"
done
verdict "every header compiles alone" "$bad"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
