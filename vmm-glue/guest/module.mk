# SPDX-License-Identifier: BSD-2-Clause
# The stress guest: a 32-bit Multiboot image of its own, $(O)/guest/stress.elf, and the host's side of it in libvmm.a.
vmm_srcs += \
	vmm-glue/guest/stress_host.c \
	vmm-glue/guest/stress_layout.c \
	vmm-glue/guest/stress_options.c
vmm_objs += $(O)/guest/stress_image.o

guest_srcs := \
	vmm-glue/guest/entry.S \
	vmm-glue/guest/clock.c \
	vmm-glue/guest/console.c \
	vmm-glue/guest/params.c \
	vmm-glue/guest/smp.c \
	vmm-glue/guest/stress.c \
	vmm-glue/guest/stress_layout.c \
	vmm-glue/guest/verdict.c
guest_objs := $(patsubst vmm-glue/guest/%,$(O)/guest/%.o,$(basename $(guest_srcs)))

# 486 instructions only, and nothing that needs a floating point unit, a C library or relocation. Neither the user's CFLAGS
# nor a sanitizer's flags belong here. Tuned for a multiplier that is cheap, as it is to an emulator.
guest_cflags := \
	-m32 \
	-march=i486 \
	-mtune=generic \
	-mregparm=3 \
	-mno-sse \
	-mno-mmx \
	-mno-80387 \
	-std=gnu17 \
	-O2 \
	-ffreestanding \
	-fno-pic \
	-fno-pie \
	-fno-stack-protector \
	-fcf-protection=none \
	-fno-asynchronous-unwind-tables \
	-fno-strict-aliasing \
	-Ivmm-glue \
	$(warnings)
guest_ldflags := -m elf_i386 -z max-page-size=4096 --build-id=none -T vmm-glue/guest/stress.ld
# The emulator in KVM, which runs this guest on some hosts, knows few instructions outside the plain ones.
guest_exotic := ^(cmov|bnd|endbr|f[a-z]|v[a-z]|rd[rsp]|popcnt|lzcnt|tzcnt|movbe|sysenter)|%([xyz]?mm|st|k)[0-7(]

$(O)/guest/%.o: vmm-glue/guest/%.c vmm-glue/guest/module.mk $(stamp)
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(guest_cflags) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<
$(O)/guest/%.o: vmm-glue/guest/%.S vmm-glue/guest/module.mk $(stamp)
	@mkdir -p $(@D)
	$(call say,AS,$@)$(CC) $(guest_cflags) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<
$(O)/guest/stress.elf: $(guest_objs) vmm-glue/guest/stress.ld
	$(call say,LD,$@)ld $(guest_ldflags) -o $@ $(guest_objs)
	@objdump -d --no-show-raw-insn $(filter-out %/entry.o,$(guest_objs)) | \
		awk -F '\t' '$$2 ~ /$(guest_exotic)/ { print; bad = 1 } END { exit bad }' || { \
		echo "the stress guest must do without these instructions" >&2; exit 1; }
$(O)/guest/stress_image.o: vmm-glue/guest/stress_image.S $(O)/guest/stress.elf
	$(call say,AS,$@)$(CC) -Wa,-I$(O) -c -o $@ $<

-include $(guest_objs:.o=.d)

.PHONY: install-guest uninstall-guest
install: install-guest
install-guest: $(O)/guest/stress.elf
	install -d $(DESTDIR)$(libdir)/decant
	install -m 644 $< $(DESTDIR)$(libdir)/decant/
uninstall: uninstall-guest
uninstall-guest:
	rm -rf $(DESTDIR)$(libdir)/decant
