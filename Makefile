# SPDX-License-Identifier: BSD-2-Clause
# Makefile -- builds, checks and installs decant; `make help` lists what it can do
#
# One make for the whole tree. Each folder's module.mk extends the lists below and nothing else, one file per line:
#   libdecant_srcs        libdecant.so, libdecant.a
#   libdecant_kvm_srcs    libdecant-kvm.so, libdecant-kvm.a
#   vmm_srcs, vmm_objs    libvmm.a: the reference VMM without its main()
#   decant_srcs           the rest of the program decant
#   bench_srcs            decant-point, which takes the measurements of perf/bench.py
#   observe_srcs          decant-observe, which times a migration from outside
# and for tests the lists of docs/testing.md. Everything built goes under $(O).

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# ---- settings: all can be given on the command line ----
O ?= build
V ?= 0
WERROR ?= 0
SAN ?=
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin AR),default)
AR := ar
endif
PKG_CONFIG ?= pkg-config
PYTHON ?= python3
CFLAGS ?= -O2 -g

prefix ?= /usr/local
exec_prefix ?= $(prefix)
bindir ?= $(exec_prefix)/bin
libdir ?= $(exec_prefix)/lib
includedir ?= $(prefix)/include
libexecdir ?= $(exec_prefix)/libexec
pkgconfigdir ?= $(libdir)/pkgconfig
mandir ?= $(prefix)/share/man
DESTDIR ?=

version_field = $(shell sed -n 's/^\#define DECANT_VERSION_$(1) *//p' include/decant/version.h)
version := $(call version_field,MAJOR).$(call version_field,MINOR).$(call version_field,PATCH)
soversion := $(call version_field,MAJOR)

# ---- flags ----
# What pkg-config says is asked once, and only if something is compiled: `make help` and `make demo` run without it.
packages := json-c libxxhash numa hwloc libibverbs librdmacm libcrypto libseccomp
test_packages := cmocka
once = $(eval $(1) := $(2))$(2)
ask_pkg = $(shell $(PKG_CONFIG) $(1) 2>/dev/null)
PKG_CFLAGS = $(call once,PKG_CFLAGS,$(call ask_pkg,--cflags $(packages)))
PKG_LIBS = $(call once,PKG_LIBS,$(call ask_pkg,--libs $(packages)))
LIB_LIBS = $(call once,LIB_LIBS,$(call ask_pkg,--libs libxxhash numa hwloc libibverbs librdmacm libcrypto))
TEST_LIBS = $(call once,TEST_LIBS,$(call ask_pkg,--libs $(test_packages)))

warnings := \
	-Wall \
	-Wextra \
	-Wshadow \
	-Wstrict-prototypes \
	-Wmissing-prototypes \
	-Wwrite-strings \
	-Wundef \
	-Wvla
# KVM's own structs end in an array without a length, and are meant to be followed by it
ifneq ($(findstring clang,$(CC)),)
warnings += -Wno-gnu-variable-sized-type-not-at-end
endif
ifeq ($(WERROR),1)
warnings += -Werror
endif

DECANT_CFLAGS := \
	-std=gnu17 \
	-fvisibility=hidden \
	-fno-strict-aliasing \
	-pthread \
	$(warnings)
DECANT_CPPFLAGS := -D_GNU_SOURCE=
DECANT_LDFLAGS := -pthread
so_ldflags := -shared -Wl,-z,defs
ifneq ($(SAN),)
DECANT_CFLAGS += -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all
DECANT_LDFLAGS += -fsanitize=$(SAN)
so_ldflags := -shared
endif

# A folder sees the layers below it; check-layers holds it to the order among them.
includes_of = -Iinclude -Itransport \
	$(if $(filter vmm-glue/% tests/% perf/%,$(1)),-Ivmm-glue) $(if $(filter tests/% perf/%,$(1)),-Itests)

ifneq ($(V),1)
Q := @
say = @printf '  %-7s %s\n' '$(1)' '$(patsubst $(O)/%,%,$(2))';
endif

# ---- what there is to build ----
folders := \
	transport/util \
	transport/wire \
	transport/fabric \
	transport/fabric/tcp \
	transport/fabric/loop \
	transport/fabric/rdma \
	transport/migration \
	transport/api \
	vmm-glue/kvm \
	vmm-glue/qemu \
	vmm-glue/guest \
	vmm-glue/vmm
modules := $(wildcard \
	$(addsuffix /module.mk,$(folders)) \
	tests/module.mk tests/*/module.mk tests/*/*/module.mk \
	perf/module.mk)

libdecant_srcs :=
libdecant_kvm_srcs :=
vmm_srcs :=
vmm_objs :=
decant_srcs :=
unit_tests :=
integration_tests :=
script_tests :=
test_tools :=
fuzz_targets :=
bench_srcs :=
observe_srcs :=
include $(modules)

objs_of = $(patsubst %,$(O)/$(2)/%.o,$(basename $(1)))
obj = $(call objs_of,$(1),obj)
pic = $(call objs_of,$(1),pic)

util_srcs = $(filter transport/util/%,$(libdecant_srcs))
so := $(O)/libdecant.so
kvm_so := $(O)/libdecant-kvm.so
static_libs := $(O)/libvmm.a $(O)/libdecant-kvm.a $(O)/libdecant.a

products := $(so) $(O)/libdecant.a $(O)/decant.pc
ifneq ($(libdecant_kvm_srcs),)
products += $(kvm_so) $(O)/libdecant-kvm.a $(O)/decant-kvm.pc
endif
ifneq ($(decant_srcs),)
products += $(O)/decant $(bench_programs)
endif

.PHONY: all
all: $(products) ## build the libraries and the program decant (the default)

# ---- compile ----
# The stamp changes when a flag does, and everything compiled depends on it; a missing package is told here, once.
stamp := $(O)/flags
stamp_text = $(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) $(DECANT_CPPFLAGS) $(DECANT_CFLAGS) $(DECANT_LDFLAGS) $(PKG_CFLAGS)
.PHONY: FORCE
$(stamp): FORCE
	@$(PKG_CONFIG) --exists $(packages) || { \
		echo "decant needs $(packages) and $(PKG_CONFIG): run tools/deps.sh build" >&2; exit 1; }
	@mkdir -p $(@D)
	@printf '%s\n' '$(stamp_text)' | cmp -s - $@ || printf '%s\n' '$(stamp_text)' > $@

compile = $(CC) $(DECANT_CPPFLAGS) $(call includes_of,$<) $(PKG_CFLAGS) $(CPPFLAGS) $(DECANT_CFLAGS) $(1) $(CFLAGS) \
	-MMD -MP -MF $(@:.o=.d) -c -o $@ $<

$(O)/obj/%.o: %.c $(stamp)
	$(call say,CC,$@)mkdir -p $(@D)
	$(Q)$(call compile,-fPIE)
$(O)/obj/%.o: %.S $(stamp)
	$(call say,AS,$@)mkdir -p $(@D)
	$(Q)$(call compile,-fPIE)
$(O)/pic/%.o: %.c $(stamp)
	$(call say,CC,$@)mkdir -p $(@D)
	$(Q)$(call compile,-fPIC)

# ---- link ----
# A file taken off a list must go from its archive too.
$(O)/libdecant.a $(O)/libdecant-kvm.a $(O)/libvmm.a $(O)/libutil.pic.a $(so) $(kvm_so): $(modules)
archive = rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)
$(O)/libdecant.a: $(call obj,$(libdecant_srcs))
	$(call say,AR,$@)$(archive)
$(O)/libdecant-kvm.a: $(call obj,$(libdecant_kvm_srcs))
	$(call say,AR,$@)$(archive)
$(O)/libvmm.a: $(call obj,$(vmm_srcs)) $(vmm_objs)
	$(call say,AR,$@)$(archive)
$(O)/libutil.pic.a: $(call pic,$(util_srcs))
	$(call say,AR,$@)$(archive)

link_so = $(CC) $(CFLAGS) $(DECANT_LDFLAGS) $(so_ldflags) $(LDFLAGS) -Wl,-soname,$(@F).$(soversion) \
	-Wl,--version-script,$(filter %.map,$^) -o $@ $(filter %.o,$^)
$(so): $(call pic,$(libdecant_srcs)) transport/api/libdecant.map
	$(call say,LD,$@)$(link_so) $(LIB_LIBS)
	@ln -sf $(@F) $@.$(soversion)
# libdecant-kvm has its own hidden copy of the helpers it takes from transport/util, so libdecant need not export them.
$(kvm_so): $(call pic,$(libdecant_kvm_srcs)) $(so) $(O)/libutil.pic.a transport/api/libdecant-kvm.map
	$(call say,LD,$@)$(link_so) $(so) $(O)/libutil.pic.a
	@ln -sf $(@F) $@.$(soversion)

link = $(CC) $(CFLAGS) $(DECANT_LDFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) \
	-Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(PKG_LIBS)
$(O)/decant: $(call obj,$(decant_srcs)) $(static_libs)
	$(call say,LD,$@)$(link)

# Where to install can be told at `make install`, after all has been built.
paths_text = $(prefix) $(exec_prefix) $(libdir) $(includedir)
$(O)/paths: FORCE
	@mkdir -p $(@D)
	@echo '$(paths_text)' | cmp -s - $@ || echo '$(paths_text)' > $@
$(O)/%.pc: transport/api/%.pc.in include/decant/version.h $(O)/paths
	$(call say,GEN,$@)sed -e 's|@prefix@|$(prefix)|' -e 's|@exec_prefix@|$(exec_prefix)|' -e 's|@libdir@|$(libdir)|' \
		-e 's|@includedir@|$(includedir)|' -e 's|@version@|$(version)|' $< > $@

include tests/rules.mk
include perf/rules.mk

-include $(shell [ ! -d $(O) ] || find $(O)/obj $(O)/pic -name '*.d' 2>/dev/null)

# ---- install ----
# decant-perf finds its modules and programs beside itself, and decant above: as in the tree, but for the build folder.
perf_dir := $(DESTDIR)$(libexecdir)/decant/perf
.PHONY: install uninstall
install: all ## install below $(DESTDIR)$(prefix)
	install -d $(DESTDIR)$(bindir) $(DESTDIR)$(libdir) $(DESTDIR)$(pkgconfigdir) $(DESTDIR)$(includedir)/decant \
		$(DESTDIR)$(mandir)/man1 $(perf_dir)
	install -m 755 $(O)/decant $(DESTDIR)$(bindir)/
	for l in libdecant libdecant-kvm; do \
		install -m 644 $(O)/$$l.a $(DESTDIR)$(libdir)/ && \
		install -m 755 $(O)/$$l.so $(DESTDIR)$(libdir)/$$l.so.$(version) && \
		ln -sf $$l.so.$(version) $(DESTDIR)$(libdir)/$$l.so.$(soversion) && \
		ln -sf $$l.so.$(soversion) $(DESTDIR)$(libdir)/$$l.so || exit 1; \
	done
	install -m 644 $(O)/decant.pc $(O)/decant-kvm.pc $(DESTDIR)$(pkgconfigdir)/
	install -m 644 include/decant/*.h $(DESTDIR)$(includedir)/decant/
	install -m 644 docs/man/decant.1 docs/man/decant-perf.1 docs/man/decant-proxy.1 $(DESTDIR)$(mandir)/man1/
	install -m 755 perf/decant-perf $(bench_programs) $(perf_dir)/
	install -m 644 $(perf_modules) perf/README.md $(perf_dir)/
	ln -sfr $(DESTDIR)$(bindir)/decant $(perf_dir)/../decant
	ln -sfr $(perf_dir)/decant-perf $(DESTDIR)$(bindir)/decant-perf
uninstall: ## remove what install has put there
	rm -f $(DESTDIR)$(bindir)/decant $(DESTDIR)$(bindir)/decant-perf
	rm -rf $(DESTDIR)$(libexecdir)/decant
	for l in libdecant libdecant-kvm; do \
		rm -f $(DESTDIR)$(libdir)/$$l.a $(DESTDIR)$(libdir)/$$l.so*; \
	done
	rm -f $(DESTDIR)$(pkgconfigdir)/decant.pc $(DESTDIR)$(pkgconfigdir)/decant-kvm.pc
	rm -rf $(DESTDIR)$(includedir)/decant
	rm -f $(DESTDIR)$(mandir)/man1/decant.1 $(DESTDIR)$(mandir)/man1/decant-perf.1 $(DESTDIR)$(mandir)/man1/decant-proxy.1

.PHONY: clean help
clean: ## remove everything under $(O)
	rm -rf $(O)
help: ## this list
	@sed -n 's/^\([a-z-][a-z -]*\):.*## /\1\t/p' Makefile tests/rules.mk perf/rules.mk | sort | \
		awk -F '\t' '{ printf "  %-14s %s\n", $$1, $$2 }'
	@echo '  settings: O=build V=1 WERROR=1 SAN=address,undefined|thread CC=clang prefix=/usr/local DESTDIR='
