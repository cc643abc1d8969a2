# lnn-tools
#
#   make [WERROR=1] [SAN=address,undefined] [COV=1] [V=1]   build into $(BUILD)
#   make deps demo        install what a new machine needs, then run a tour
#   make check            all tests that need no Python
#   make help             the other targets
#
# The user may set CC, CPPFLAGS, CFLAGS, LDFLAGS, BUILD, DESTDIR, PREFIX and PYTHON.

VERSION := 0.2.0

CC ?= cc
AR ?= ar
CFLAGS ?= -O2 -g
PKG_CONFIG ?= pkg-config
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
DATADIR ?= $(PREFIX)/share
BASHDIR ?= $(DATADIR)/bash-completion/completions
ZSHDIR ?= $(DATADIR)/zsh/site-functions
FISHDIR ?= $(DATADIR)/fish/vendor_completions.d
FUZZ_SECONDS ?= 60
# Percentages of lib/ that the tests must cover.
COV_LINES := 90
COV_BRANCHES := 80

comma := ,
empty :=
space := $(empty) $(empty)

# A build with other instrumentation has its own folder.
ifdef SAN
BUILD ?= build-$(subst $(comma),-,$(SAN))
else ifdef COV
BUILD ?= build-cov
else
BUILD ?= build
endif

ifeq ($(V),)
Q := @
say = @printf '  %-4s %s\n' $(1) $(2)
else
Q :=
say = @:
endif

# ---- sources and products ----

LIB := $(BUILD)/liblnn.a
LIB_SRC := $(sort $(wildcard lib/*/*.c))
MAPS := $(sort $(wildcard lib/plan/maps/*.yaml))
# These maps are installed as examples. Those above are compiled into the library.
KEYMAPS := $(sort $(wildcard man/keymaps/*.yaml))
MODELS := $(sort $(wildcard lib/model/builtin/*.yaml))
GEN_SRC := $(BUILD)/gen/embedded.c
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/obj/%.o) $(BUILD)/obj/gen/embedded.o

PROG_NAMES := $(sort $(notdir $(patsubst %/,%,$(dir $(wildcard cmd/lnn-*/*.c)))))
PROGS := $(PROG_NAMES:%=$(BUILD)/%)
STATIC_PROGS := $(PROG_NAMES:%=$(BUILD)/static/%)
COMMON_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(sort $(wildcard cmd/common/*.c)))
prog_obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(sort $(wildcard cmd/$(1)/*.c)))
PROG_OBJ := $(foreach p,$(PROG_NAMES),$(call prog_obj,$(p)))

UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
# Drivers make library functions available to tests in Python. NAME_vs_python.py uses drive_NAME.
DRIVER_SRC := $(sort $(wildcard tests/unit/drive_*.c))
DRIVER_BIN := $(DRIVER_SRC:tests/unit/%.c=$(BUILD)/tests/%)
VS_PYTHON := $(sort $(wildcard tests/unit/*_vs_python.py))
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/tests/%)
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/%.c=$(BUILD)/fuzz/%)
REPLAY_BIN := $(FUZZ_SRC:tests/fuzz/%.c=$(BUILD)/tests/replay_%)
BATS := $(sort $(wildcard tests/bats/*.bats))

ALL_OBJ := $(LIB_OBJ) $(COMMON_OBJ) $(PROG_OBJ) \
	$(patsubst %.c,$(BUILD)/obj/%.o,$(UNIT_SRC) $(DRIVER_SRC) $(FUZZ_SRC) $(wildcard tests/fuzz/replay.c))

MANS := $(sort $(wildcard man/*.[157]))

# ---- flags and rules ----

PKGS := yaml-0.1 zlib libpcre2-8 nettle
# Evaluated once, and only when something is compiled, as `make deps demo` first installs the packages.
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PKGS)))$(PKG_LIBS)
STATIC_LIBS = $(eval STATIC_LIBS := $(shell $(PKG_CONFIG) --static --libs $(PKGS)))$(STATIC_LIBS)

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes \
	-Wmissing-prototypes -Wcast-qual -Wwrite-strings -Wundef -Wvla -Wformat=2 -Wimplicit-fallthrough
# Sanitizer checks add paths on which gcc warns about null pointers that cannot occur.
WARN += $(if $(SAN)$(COV),,-Wnull-dereference)
WARN += $(if $(WERROR),-Werror)

optimised := $(filter-out -O0,$(filter -O%,$(CFLAGS)))
fortified := $(findstring _FORTIFY_SOURCE,$(CFLAGS) $(CPPFLAGS))
HARDEN := -fPIE -fstack-protector-strong
HARDEN += $(if $(optimised),$(if $(fortified)$(SAN)$(COV),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2))

SAN_FLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
COV_FLAGS := $(if $(COV),--coverage -fprofile-update=atomic -O0)

# Without contraction, figures do not depend on the fused operations of the processor.
BASE_CFLAGS = -std=c11 -pthread -ffp-contract=off $(WARN) $(HARDEN) \
	-ffile-prefix-map=$(abspath $(BUILD))=build -ffile-prefix-map=$(CURDIR)=. \
	$(SAN_FLAGS)
BASE_CPPFLAGS = -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DLNN_VERSION='"$(VERSION)"' -Ilib $(PKG_CFLAGS)
COMPILE = $(CC) $(BASE_CPPFLAGS) $(EXTRA_INC) $(CPPFLAGS) $(BASE_CFLAGS) $(CFLAGS) $(COV_FLAGS) -MMD -MP -c -o $@ $<
# $(call link,-pie or -static-pie,libraries)
link = $(CC) -pthread $(1) -Wl,-z,relro,-z,now -Wl,--as-needed $(SAN_FLAGS) $(EXTRA_LD) $(CFLAGS) $(COV_FLAGS) \
	$(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(2) -lm $(LDLIBS)
LINK = $(call link,-pie,$(PKG_LIBS))

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all test-programs fuzz-programs deps deps-dev demo unit lines check memcheck check-torch lint fuzz bench cov \
	install uninstall static dist deb wheel check-arch clean help FORCE

all: $(LIB) $(PROGS)

# Every object depends on its compiler flags and on the set of files.
$(BUILD)/flags: export FLAGS_TEXT = $(COMPILE) $(LINK) $(LIB_OBJ) $(PROG_OBJ) $(COMMON_OBJ) $(MAPS) $(MODELS)
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@$(PKG_CONFIG) --exists $(PKGS) || { \
		echo "lnn-tools is built with $(PKG_CONFIG), libyaml, zlib, PCRE2 (8 bit) and nettle, and their headers:" >&2; \
		echo "'make deps' installs them where there is apt-get" >&2; exit 1; }
	@printf '%s\n' "$$FLAGS_TEXT" >$@.new
	@if cmp -s $@.new $@; then rm -f $@.new; else mv $@.new $@; fi

ifneq ($(filter deps,$(MAKECMDGOALS)),)
$(BUILD)/flags: | deps
endif

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(COMPILE)

$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(COMPILE)

$(BUILD)/obj/cmd/%.o: private EXTRA_INC := -Icmd
$(BUILD)/obj/tests/unit/%.o: private EXTRA_INC := -Itests/unit
$(BUILD)/fuzz/%: private EXTRA_LD := -fsanitize=fuzzer

$(GEN_SRC): lib/base/embed.sh $(MAPS) $(MODELS) $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,GEN,$@)
	$(Q){ echo '#include "base/embedded.h"'; \
		sh lib/base/embed.sh embedded_maps $(MAPS); \
		sh lib/base/embed.sh embedded_models $(MODELS); } >$@

$(LIB): $(LIB_OBJ)
	$(call say,AR,$@)
	@rm -f $@
	$(Q)$(AR) crD $@ $(LIB_OBJ)

define program
$(BUILD)/$(1): $(call prog_obj,$(1)) $(COMMON_OBJ) $(LIB)
	$$(call say,LD,$$@)
	$$(Q)$$(LINK)

$(BUILD)/static/$(1): $(call prog_obj,$(1)) $(COMMON_OBJ) $(LIB)
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$$(Q)$$(call link,-static-pie,$$(STATIC_LIBS))
endef
$(foreach p,$(PROG_NAMES),$(eval $(call program,$(p))))

$(BUILD)/tests/replay_fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(BUILD)/obj/tests/fuzz/replay.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(LINK)

$(UNIT_BIN) $(DRIVER_BIN): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(LINK)

$(BUILD)/fuzz/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(LINK)

.SECONDARY: $(ALL_OBJ)
-include $(ALL_OBJ:.o=.d)

test-programs: $(UNIT_BIN) $(DRIVER_BIN) $(REPLAY_BIN)
fuzz-programs: $(FUZZ_BIN)

# ---- tests, tools and installation ----

DEPS := build-essential pkg-config libyaml-dev zlib1g-dev libpcre2-dev nettle-dev bats perl python3 parallel zip unzip git
DEPS_DEV := clang clang-tidy clang-format-14 libclang-rt-14-dev cppcheck shellcheck mandoc gcovr hyperfine \
	valgrind strace lintian bash-completion fish zsh

apt_install = @if command -v apt-get >/dev/null 2>&1; then \
		as=; test "$$(id -u)" = 0 || as=sudo; \
		test -z "$$as" || command -v sudo >/dev/null 2>&1 || { \
			echo "There is no sudo here: please run 'make deps' as root, then the rest as yourself." >&2; exit 1; }; \
		$$as env DEBIAN_FRONTEND=noninteractive sh -c \
			'apt-get -q update && apt-get -q -y install --no-install-recommends $(1)' </dev/null; \
	else \
		echo "There is no apt-get here. Please install with your system's tools:" >&2; \
		echo "$(2)" >&2; exit 1; \
	fi

deps:
	$(call apt_install,$(DEPS),a C compiler$(comma) make$(comma) pkg-config$(comma) libyaml$(comma) zlib and \
	PCRE2 with headers; for the tests bats 1.8$(comma) prove (Perl)$(comma) GNU parallel$(comma) zip$(comma) unzip and git)

deps-dev: deps
	$(call apt_install,$(DEPS_DEV),clang with clang-tidy$(comma) clang-format and libFuzzer$(comma) cppcheck$(comma) \
	shellcheck$(comma) mandoc$(comma) gcovr$(comma) hyperfine$(comma) valgrind$(comma) strace$(comma) lintian$(comma) bash-completion$(comma) fish and zsh)

run_env = LNN_BUILD='$(abspath $(BUILD))' LNN_SAN='$(SAN)' LNN_COV='$(COV)' V='$(V)' PYTHON='$(PYTHON)' CC='$(CC)'

demo: all
	@$(run_env) tests/demo

# CHECKS chooses the tests, as in `make SAN=thread CHECKS=tests/bats/threads.bats check`.
# Coverage is counted without the tests that kill programs, fill disks, let calls fail or try long lists of damages, which take longer
# than all others.
NO_COV := changes completion disk faults faults_wide hostile kill package terminal wheel
CHECKS ?= $(UNIT_BIN) $(REPLAY_BIN) $(VS_PYTHON) $(filter-out $(if $(COV),$(NO_COV:%=tests/bats/%.bats)),$(BATS))

check: all $(filter-out %.bats %.py,$(CHECKS)) $(if $(filter %.py,$(CHECKS)),$(DRIVER_BIN)) \
		$(if $(SAN)$(COV),,$(if $(filter %/wheel.bats,$(CHECKS)),$(STATIC_PROGS)))
	@$(run_env) tests/run $(CHECKS)

# The fast tests, which need neither the programs nor bats.
unit: $(UNIT_BIN) $(REPLAY_BIN)
	@$(run_env) tests/run $(UNIT_BIN) $(REPLAY_BIN)

lines:
	@tests/lint/lines

# Runs tests under valgrind, which takes minutes. Tests that limit memory, preload, mount, kill or measure time do not work there.
memcheck: all test-programs
	@$(run_env) tests/memcheck $(UNIT_BIN) $(REPLAY_BIN) $(filter-out $(addprefix tests/bats/,faults.bats faults_wide.bats \
		changes.bats kill.bats disk.bats hostile.bats terminal.bats completion.bats package.bats),$(BATS))

check-torch: all $(DRIVER_BIN)
	@$(run_env) tests/torch/run

lint:
	@tests/lint/run

fuzz:
	$(Q)$(MAKE) CC=clang SAN=fuzzer-no-link,address,undefined BUILD=build-fuzz fuzz-programs
	@FUZZ_SECONDS='$(FUZZ_SECONDS)' tests/fuzz/run build-fuzz/fuzz

bench: all
	@if [ -x tests/bench/run ]; then $(run_env) tests/bench/run; else echo 'there is no benchmark yet' >&2; exit 1; fi

# Counts of earlier runs are deleted. Coverage below the goal is a failure even if all tests pass.
cov:
	@! [ -d build-cov ] || find build-cov -name '*.gcda' -delete
	@status=0; $(MAKE) COV=1 BUILD=build-cov check || status=$$?; \
	gcovr --root . --object-directory build-cov --filter lib/ --json build-cov/coverage.json build-cov && \
	gcovr --root . --add-tracefile build-cov/coverage.json --branches --txt build-cov/branches.txt && \
	gcovr --root . --add-tracefile build-cov/coverage.json --txt build-cov/coverage.txt \
		--html-details build-cov/coverage.html --print-summary \
		--fail-under-line $(COV_LINES) --fail-under-branch $(COV_BRANCHES) || status=$$?; \
	echo 'by file: build-cov/coverage.txt, branches.txt; by line: build-cov/coverage.html'; exit $$status

install: all
	install -d '$(DESTDIR)$(BINDIR)'
	install -m 755 $(PROGS) '$(DESTDIR)$(BINDIR)'
	@for page in $(MANS); do \
		install -d '$(DESTDIR)$(MANDIR)'/man$${page##*.} && \
		install -m 644 $$page '$(DESTDIR)$(MANDIR)'/man$${page##*.}/ || exit 1; done
	install -d '$(DESTDIR)$(BASHDIR)' '$(DESTDIR)$(ZSHDIR)' '$(DESTDIR)$(FISHDIR)'
	install -m 644 cmd/completion/lnn-tools.bash '$(DESTDIR)$(BASHDIR)'/lnn-tools
	install -m 644 cmd/completion/_lnn-tools '$(DESTDIR)$(ZSHDIR)'/
	install -m 644 cmd/completion/lnn-tools.fish '$(DESTDIR)$(FISHDIR)'/
	install -d '$(DESTDIR)$(DATADIR)'/lnn-tools/keymaps
	install -m 644 $(KEYMAPS) '$(DESTDIR)$(DATADIR)'/lnn-tools/keymaps/
	@# These two shells load the file that has the name of the command.
	@for name in $(PROG_NAMES); do \
		ln -sf lnn-tools '$(DESTDIR)$(BASHDIR)'/$$name && \
		ln -sf lnn-tools.fish '$(DESTDIR)$(FISHDIR)'/$$name.fish || exit 1; done

uninstall:
	@for name in $(PROG_NAMES); do rm -f '$(DESTDIR)$(BINDIR)'/$$name; done
	@for page in $(notdir $(MANS)); do rm -f '$(DESTDIR)$(MANDIR)'/man$${page##*.}/$$page; done
	@rm -f '$(DESTDIR)$(ZSHDIR)'/_lnn-tools
	@for map in $(notdir $(KEYMAPS)); do rm -f '$(DESTDIR)$(DATADIR)'/lnn-tools/keymaps/$$map; done
	@rmdir -p --ignore-fail-on-non-empty '$(DESTDIR)$(DATADIR)'/lnn-tools/keymaps 2>/dev/null || :
	@for name in lnn-tools $(PROG_NAMES); do \
		rm -f '$(DESTDIR)$(BASHDIR)'/$$name '$(DESTDIR)$(FISHDIR)'/$$name.fish; done

# The tarball has the time of the commit and nothing of this machine or user.
dist:
	@git -c tar.umask=0022 archive --prefix=lnn-tools-$(VERSION)/ HEAD | gzip -9n >lnn-tools-$(VERSION).tar.gz
	@echo lnn-tools-$(VERSION).tar.gz

deb: all
	@cmd/package/deb $(VERSION) $(MAKE) --no-print-directory BUILD='$(BUILD)'

# The programs without shared libraries are in $(BUILD)/static. They run on any Linux of this processor.
static: $(STATIC_PROGS)

# A wheel for pip with the static programs, manuals and completions. WHEEL_ARCH is the processor that CC compiles for.
WHEEL_ARCH ?= $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))
wheel: static
	@python3 cmd/package/wheel $(VERSION) $(WHEEL_ARCH) $(MAKE) --no-print-directory BUILD='$(BUILD)' PROGS='$(STATIC_PROGS)'

# Runs unit tests and most command tests on other processors, under qemu.
check-arch:
	@tests/arch/run

clean:
	rm -rf build build-* lnn-tools-*.tar.gz lnn-tools_*.deb lnn_tools-*.whl

help:
	@echo 'make               build the programs (also WERROR=1, SAN=address,undefined, COV=1, V=1)'
	@echo 'make deps          install what building and testing need (apt); deps-dev: what lint, fuzz, cov need too'
	@echo 'make demo          a tour of the programs on a real checkpoint'
	@echo 'make unit          the C unit tests and fuzz corpora alone: seconds'
	@echo 'make check         unit tests, command tests and the fuzz corpora'
	@echo 'make check-torch   the same outputs in real PyTorch (PYTHON=one that has torch)'
	@echo 'make memcheck      most of check under valgrind'
	@echo 'make lint          format, static analysis, manuals, layers'
	@echo 'make lines         lines of code, without comments and blanks, by folder'
	@echo 'make fuzz          each fuzz target for FUZZ_SECONDS ($(FUZZ_SECONDS))'
	@echo 'make bench cov     benchmarks; coverage of lib/, which fails below $(COV_LINES) % of lines, $(COV_BRANCHES) % of branches'
	@echo 'make install       into $$(DESTDIR)$$(PREFIX), here $(DESTDIR)$(PREFIX); uninstall'
	@echo 'make static        the programs without shared libraries, in $(BUILD)/static'
	@echo 'make dist deb      source tarball; Debian package (needs dpkg-dev)'
	@echo 'make wheel         a Python wheel with the static programs, for pip'
	@echo 'make check-arch    tests on other processors, under qemu (aarch64, s390x)'
	@echo 'make clean         remove what was built'
