# redd: fine-tuning as a service. `make help` lists the targets; everything lands in build/VARIANT/.
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif

VERSION   := 0.1.0
VARIANT   ?= release
BUILD     ?= build
OUT       := $(BUILD)/$(VARIANT)
PREFIX    ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR   ?= $(PREFIX)/lib/systemd/system
MANDIR    ?= $(PREFIX)/share/man
BASHDIR   ?= $(PREFIX)/share/bash-completion/completions
DEB_REVISION ?= 1
ZSHDIR    ?= $(PREFIX)/share/zsh/site-functions
V         ?= 0
Q         := $(if $(filter 1,$(V)),,@)
SUDO      := $(if $(filter 0,$(shell id -u)),,sudo)

ifeq ($(origin CC),default)
CC        := gcc
endif
# Variants that are run, not debugged, take what builds faster; line numbers they have all the same.
CFLAGS_asan := -O1 -g1
CFLAGS_tsan := -O2 -g1
CFLAGS    ?= $(or $(CFLAGS_$(VARIANT)),-O2 -g)
WARNINGS  := -Wall -Wextra -Wshadow -Wconversion -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes
WERROR    ?= -Werror
# Test programs are many: gold, which comes with binutils, links each in a fraction of the time.
FAST_LINK := $(if $(shell command -v ld.gold 2>/dev/null),-fuse-ld=gold)
# Products are fused only where a kernel says so: the same source gives the same bits on every path.
STD       := -std=gnu11 -pthread -fno-math-errno -ffp-contract=off -D_GNU_SOURCE -DREDD_VERSION='"$(VERSION)"'
ifeq ($(VARIANT),asan)
SANITIZE  := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
else ifeq ($(VARIANT),tsan)
SANITIZE  := -fsanitize=thread -fno-omit-frame-pointer
else ifeq ($(VARIANT),fuzz)
CC        := clang
WERROR    :=
SANITIZE  := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
endif

# Debian packages, and the pkg-config modules they bring.
DEB_PACKAGES := gcc libc6-dev make pkg-config libmicrohttpd-dev libjansson-dev libsqlite3-dev libuv1-dev \
	libsystemd-dev libcurl4-openssl-dev libinih-dev libpcre2-dev libutf8proc-dev nettle-dev \
	libcmocka-dev curl ca-certificates
PKG_DAEMON := libmicrohttpd jansson sqlite3 libuv libsystemd inih libpcre2-8 libutf8proc \
	nettle libcurl
PKG_CTL    := libcurl jansson nettle
PKG_TEST   := cmocka libcurl
PKG_ALL    := $(sort $(PKG_DAEMON) $(PKG_CTL) $(PKG_TEST))
PKG_CFLAGS  = $(shell pkg-config --cflags $(PKG_ALL) 2>/dev/null)
CPPFLAGS_ALL = -I. -Idaemon -I$(OUT) $(CPPFLAGS)
CFLAGS_ALL   = $(STD) $(CFLAGS) $(WARNINGS) $(WERROR) $(SANITIZE)

# A library of every room, and two programs on top of it: a main.c each.
REDD_SRC := daemon/main.c
CTL_SRC  := daemon/ctl/main.c
LIB_SRC  := $(filter-out $(REDD_SRC) $(CTL_SRC),$(wildcard daemon/*.c daemon/*/*.c storage/*.c worker/*.c \
	worker/*/*.c api/*.c))
TEST_SUPPORT_SRC := $(wildcard tests/support/*.c)
TEST_SRC  := $(shell find tests -name 'test_*.c' 2>/dev/null | sort)
FUZZ_SRC  := $(wildcard tests/fuzz/fuzz_*.c)
BENCH_SRC := $(wildcard tests/bench/*.c)
HEADERS   := $(shell find daemon storage worker api tests -name '*.h' 2>/dev/null)

obj = $(patsubst %.c,$(OUT)/obj/%.o,$(1))
LIB       := $(OUT)/libredd.a
TESTS     := $(patsubst tests/%.c,$(OUT)/tests/%,$(TEST_SRC))
FUZZERS   := $(patsubst tests/fuzz/%.c,$(OUT)/%,$(FUZZ_SRC))
BENCHES   := $(patsubst tests/bench/%.c,$(OUT)/bench/%,$(BENCH_SRC))
# Tests of what threads do together, run under ThreadSanitizer too.
TSAN_TESTS := $(filter %_threads,$(TESTS))
ALL_OBJ   := $(call obj,$(LIB_SRC) $(REDD_SRC) $(CTL_SRC) $(TEST_SUPPORT_SRC) $(TEST_SRC) $(FUZZ_SRC) $(BENCH_SRC) tests/demo/demo.c)

.PHONY: all programs tests deps deps-if-missing demo demo-run check check-run check-variant check-tsan bench bench-deps bench-run fuzz fuzz-run lint \
	format install uninstall deb check-deb check-boot clean help check-web check-clients

all: ## Build redd and redctl (the default); VARIANT=release|asan|tsan
all: programs

programs: $(OUT)/redd $(OUT)/redctl

tests: $(TESTS)

deps: ## Install what building and testing need, with apt (sudo if not root)
	$(SUDO) apt-get update
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $(DEB_PACKAGES)

deps-if-missing:
	@command -v $(CC) >/dev/null && command -v curl >/dev/null && command -v pkg-config >/dev/null \
		&& pkg-config --exists $(PKG_ALL) \
		|| $(MAKE) --no-print-directory deps

demo: ## From nothing to two tenants' adapters answering; KEEP=1 leaves the daemon up
demo: deps-if-missing
	@$(MAKE) --no-print-directory demo-run

demo-run: $(OUT)/demo programs
	@OUT=$(OUT) KEEP=$(KEEP) $(OUT)/demo

check: ## Run every test: plain, under AddressSanitizer + UBSan, and thread tests under ThreadSanitizer
check: deps-if-missing
	@$(MAKE) --no-print-directory check-run

check-run:
	+@sh tests/check.sh

check-variant: $(TESTS) programs
	@OUT=$(OUT) sh tests/run.sh $(TESTS)

check-tsan: $(TSAN_TESTS) programs
	@OUT=$(OUT) sh tests/run.sh $(TSAN_TESTS)

# A copy, so that what npm installs stays out of the tree.
check-web: ## Drive the dashboard in Chromium: needs node, npm and (installed if missing) chromium; SHOTS=DIR keeps pictures
check-web: programs
	@command -v chromium >/dev/null || \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium
	@mkdir -p $(OUT)/web && cp tests/web/*.mjs tests/web/*.json $(OUT)/web/
	@cd $(OUT)/web && npm ci --silent --no-audit --no-fund
	@OUT=$(OUT) node --test --test-concurrency=1 $(OUT)/web/*.test.mjs

check-clients: ## Drive redd with the official openai npm clients, majors 4, 5 and the latest; needs node and npm
check-clients: programs
	@mkdir -p $(OUT)/client && cp tests/client/*.mjs tests/client/*.json $(OUT)/client/
	@cd $(OUT)/client && npm ci --silent --no-audit --no-fund
	@OUT=$(OUT) node $(OUT)/client/run.mjs

# Bases of random numbers that `make bench` measures on, and the type they are stored as.
BENCH_MODELS ?= gpt2-124m:f32 110m:f32 1b:bf16

bench: ## Measure the machine's limits and redd against them; BENCH_MODELS="110m:f32"; TRAIN=, VALID= JSONL files add a table of RED's variants, PYTORCH=1 PyTorch
bench: bench-deps
	@$(MAKE) --no-print-directory bench-run

bench-deps: deps-if-missing
	@pkg-config --exists openblas || $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y \
		--no-install-recommends libopenblas-dev

bench-run: $(BENCHES) programs
	@set -e; mkdir -p $(BUILD)/bench-models; dirs=; for m in $(BENCH_MODELS); do \
		dir=$(BUILD)/bench-models/$${m%%:*}; dirs="$$dirs $$dir"; \
		$(OUT)/bench/make_model $$dir $${m%%:*} $${m##*:}; done; $(OUT)/bench/bench $$dirs; \
		for b in $(filter-out %/make_model %/bench,$(BENCHES)); do $$b; done
	@[ -z "$(TRAIN)" ] || OUT=$(OUT) TRAIN=$(TRAIN) VALID=$(VALID) sh tests/bench/variants.sh
	@[ -z "$(PYTORCH)" ] || /usr/bin/python3 tests/bench/pytorch.py --json $(BUILD)/bench-pytorch.json $(PYTORCH_OPTIONS)

fuzz: ## Run each fuzz target for FUZZ_SECONDS (60) under sanitizers; needs clang; finds land in build/fuzz/
fuzz:
	@$(MAKE) --no-print-directory VARIANT=fuzz fuzz-run

FUZZ_SECONDS ?= 60
fuzz-run: $(FUZZERS)
	@set -e; for f in $(FUZZERS); do name=$${f##*/fuzz_}; mkdir -p $(OUT)/corpus/$$name; \
		echo "== $$name, $(FUZZ_SECONDS) s"; \
		$$f -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=4096 -max_len=65536 -verbosity=0 \
			-print_final_stats=1 -artifact_prefix=$(OUT)/$$name- $(OUT)/corpus/$$name tests/fuzz/corpus/$$name; done

# Without -j, which would keep it from looking across files; tests, with their stand-ins, are no part of that.
CPPCHECK := cppcheck --quiet --std=c11 -I. -Idaemon --enable=warning,performance,portability --inline-suppr \
	--error-exitcode=1 --suppressions-list=tests/rules/cppcheck.supp --library=tests/rules/cppcheck.cfg \
	--library=posix --library=gnu --library=libcurl --library=sqlite3

lint: ## Check formatting, dependency rules, and run cppcheck where it is installed
	@clang-format --dry-run -Werror $(LIB_SRC) $(REDD_SRC) $(CTL_SRC) $(TEST_SRC) $(FUZZ_SRC) $(TEST_SUPPORT_SRC) \
		$(BENCH_SRC) $(HEADERS)
	@sh tests/rules/rules.sh
	@! command -v cppcheck >/dev/null || { $(CPPCHECK) $(LIB_SRC) $(REDD_SRC) $(CTL_SRC) && \
		$(CPPCHECK) $(TEST_SRC) $(FUZZ_SRC) $(TEST_SUPPORT_SRC) $(BENCH_SRC); }

format: ## Format all C sources in place
	clang-format -i $(LIB_SRC) $(REDD_SRC) $(CTL_SRC) $(TEST_SRC) $(FUZZ_SRC) $(TEST_SUPPORT_SRC) $(BENCH_SRC) $(HEADERS)

install: ## Install under DESTDIR and PREFIX: programs, base, manuals, completion, unit files, configuration
install: programs
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/redd/base $(DESTDIR)$(PREFIX)/share/doc/redd
	install -m 755 $(OUT)/redd $(OUT)/redctl $(DESTDIR)$(PREFIX)/bin/
	install -m 644 worker/base/* $(DESTDIR)$(PREFIX)/share/redd/base/
	install -m 644 README.md LICENSE $(DESTDIR)$(PREFIX)/share/doc/redd/
	install -d $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man8
	install -m 644 daemon/ctl/redctl.1 $(DESTDIR)$(MANDIR)/man1/
	install -m 644 daemon/redd.conf.5 $(DESTDIR)$(MANDIR)/man5/
	install -m 644 daemon/redd.8 $(DESTDIR)$(MANDIR)/man8/
	install -d $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR)
	for p in redd redctl; do \
		install -m 644 daemon/ctl/completion/$$p.bash $(DESTDIR)$(BASHDIR)/$$p && \
		install -m 644 daemon/ctl/completion/$$p.zsh $(DESTDIR)$(ZSHDIR)/_$$p || exit 1; done
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSCONFDIR)/redd
	sed 's|@PREFIX@|$(PREFIX)|g' systemd/redd.service > $(OUT)/redd.service
	install -m 644 $(OUT)/redd.service systemd/redd.socket $(DESTDIR)$(UNITDIR)/
	[ -e $(DESTDIR)$(SYSCONFDIR)/redd/redd.conf ] || \
		install -m 644 systemd/redd.conf $(DESTDIR)$(SYSCONFDIR)/redd/redd.conf

uninstall: ## Remove what install put there; the configuration and the state stay
	rm -f $(DESTDIR)$(PREFIX)/bin/redd $(DESTDIR)$(PREFIX)/bin/redctl
	rm -rf $(DESTDIR)$(PREFIX)/share/redd $(DESTDIR)$(PREFIX)/share/doc/redd
	rm -f $(DESTDIR)$(MANDIR)/man1/redctl.1 $(DESTDIR)$(MANDIR)/man5/redd.conf.5 $(DESTDIR)$(MANDIR)/man8/redd.8
	rm -f $(foreach p,redd redctl,$(DESTDIR)$(BASHDIR)/$(p) $(DESTDIR)$(ZSHDIR)/_$(p))
	rm -f $(DESTDIR)$(UNITDIR)/redd.service $(DESTDIR)$(UNITDIR)/redd.socket

deb: ## Build a Debian package of what install installs: build/redd_VERSION-REVISION_ARCH.deb
deb: programs
	@command -v dpkg-shlibdeps >/dev/null || { echo "make deb needs dpkg-dev: apt-get install dpkg-dev" >&2; exit 1; }
	@OUT=$(OUT) VERSION=$(VERSION) REVISION=$(DEB_REVISION) MAKE="$(MAKE)" sh systemd/debian/build.sh

check-deb: ## Install, start, upgrade, remove and purge the package in a chroot; needs root, debootstrap, a mirror
	@MAKE="$(MAKE)" BUILD=$(BUILD) sh tests/package/test_deb.sh

check-boot: ## Operate the package under a systemd of its own, in namespaces; needs what check-deb needs, and cgroup2
	@MAKE="$(MAKE)" BUILD=$(BUILD) sh tests/package/test_boot.sh

clean: ## Remove everything built
	rm -rf $(BUILD)

help: ## Show this list
	@sed -n 's/^\([a-z-]*\): ## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r t d; do \
		printf '  %-10s %s\n' "$$t" "$$d"; done

$(OUT)/redd: $(call obj,$(REDD_SRC)) $(LIB)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS) -o $@ $^ $(shell pkg-config --libs $(PKG_DAEMON)) -lm
	@echo "  LINK $@"

$(OUT)/redctl: $(call obj,$(CTL_SRC)) $(LIB)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS) -o $@ $^ $(shell pkg-config --libs $(PKG_CTL)) -lm
	@echo "  LINK $@"

$(OUT)/demo: $(call obj,tests/demo/demo.c tests/support/spawn.c) $(LIB)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS) -o $@ $^ $(shell pkg-config --libs $(PKG_ALL)) -lm
	@echo "  LINK $@"

$(LIB): $(call obj,$(LIB_SRC))
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(TESTS): $(OUT)/tests/%: $(OUT)/obj/tests/%.o $(call obj,$(TEST_SUPPORT_SRC)) $(LIB)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS) $(FAST_LINK) -o $@ $(filter %.o,$^) $(LIB) $(shell pkg-config --libs $(PKG_ALL)) -lm

# One test runs every fuzz target over its corpus.
$(OUT)/tests/fuzz/test_corpus: $(call obj,$(FUZZ_SRC))

$(FUZZERS): $(OUT)/fuzz_%: tests/fuzz/fuzz_%.c $(LIB)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(PKG_CFLAGS) $(CFLAGS_ALL) -fsanitize=fuzzer -DFUZZ_ENGINE $(LDFLAGS) -o $@ $^ \
		$(shell pkg-config --libs $(PKG_DAEMON)) -lm

# OpenBLAS is what our products are measured against.
$(OUT)/obj/tests/bench/bench.o: private CPPFLAGS += $(shell pkg-config --cflags openblas 2>/dev/null)
$(OUT)/bench/bench: private LDLIBS += $(shell pkg-config --libs openblas 2>/dev/null)
$(BENCHES): $(OUT)/bench/%: $(OUT)/obj/tests/bench/%.o $(call obj,$(TEST_SUPPORT_SRC)) $(LIB)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS) -o $@ $^ $(shell pkg-config --libs $(PKG_ALL)) $(LDLIBS) -lm

define compile
@mkdir -p $(@D)
$(Q)$(CC) $(CPPFLAGS_ALL) $(PKG_CFLAGS) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<
@$(if $(filter 1,$(V)),,echo "  CC   $<")
endef

# One source makes the kernels of every level: sanitizers watch the portable ones, which the tests of every kernel run too.
# The others keep their speed, without which training under a sanitizer takes minutes; they are release's own.
ifneq ($(filter asan tsan,$(VARIANT)),)
KERNELS := $(BUILD)/release/obj/worker/math/simd_a
$(OUT)/obj/worker/math/simd_a%.o: $(KERNELS)%.o
	@mkdir -p $(@D) && cp $< $@

$(KERNELS)%.o: private SANITIZE :=
$(KERNELS)%.o: private CFLAGS := -O2 -g
$(BUILD)/release/obj/%.o: %.c Makefile
	$(compile)

-include $(wildcard $(KERNELS)*.d)
endif

ifeq ($(VARIANT),fuzz)
# The kernels are written with pragmas of gcc's, and parse nothing.
$(OUT)/obj/worker/math/%.o: private CC := gcc
$(OUT)/obj/worker/math/%.o: private SANITIZE :=
endif

$(OUT)/obj/%.o: %.c Makefile
	$(compile)

# SQL and web files reach the binary through .incbin; their objects follow them.
$(call obj,$(wildcard storage/*.c)): $(wildcard storage/schema/*.sql)
$(call obj,api/web.c): $(wildcard api/web/*)
$(call obj,api/openapi.c): api/openapi.json

-include $(ALL_OBJ:.o=.d)
