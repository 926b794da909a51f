# SPDX-License-Identifier: BSD-2-Clause
fuzz_targets += fuzz_wire
fuzz_wire_srcs := \
	tests/support/wire_any.c \
	tests/fuzz/fuzz_wire.c
fuzz_targets += fuzz_state
fuzz_state_srcs := \
	tests/fuzz/fuzz_state.c \
	tests/fuzz/state_list.c
fuzz_targets += fuzz_frame
fuzz_frame_srcs := tests/fuzz/fuzz_frame.c
fuzz_targets += fuzz_kvm
fuzz_kvm_srcs := \
	tests/support/fake_kvm.c \
	tests/fuzz/fuzz_kvm.c \
	tests/fuzz/state_list.c
fuzz_targets += fuzz_session
fuzz_session_srcs := \
	tests/fuzz/fuzz_session.c \
	tests/fuzz/state_list.c
fuzz_targets += fuzz_control
fuzz_control_srcs := tests/fuzz/fuzz_control.c
fuzz_targets += fuzz_qmp
fuzz_qmp_srcs := tests/fuzz/fuzz_qmp.c
fuzz_targets += fuzz_qemu_stream
fuzz_qemu_stream_srcs := tests/fuzz/fuzz_qemu_stream.c
fuzz_targets += fuzz_qemu_multifd
fuzz_qemu_multifd_srcs := tests/fuzz/fuzz_qemu_multifd.c

fuzz_seed_srcs := \
	tests/support/fake_kvm.c \
	tests/support/qemu_stream.c \
	tests/support/wire_any.c \
	tests/fuzz/seed.c \
	tests/fuzz/seed_qemu.c \
	tests/fuzz/seed_session.c \
	tests/fuzz/seed_vm.c \
	tests/fuzz/state_list.c
$(O)/tests/seed: $(fuzz_seed_srcs) $(O)/libvmm.a $(O)/libdecant-kvm.a $(O)/libdecant.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(DECANT_CPPFLAGS) -Iinclude -Itransport -Ivmm-glue -Itests $(CPPFLAGS) $(DECANT_CFLAGS) $(CFLAGS) \
		$(DECANT_LDFLAGS) $(LDFLAGS) -o $@ $^ $(LIB_LIBS)
.PHONY: fuzz-seeds
fuzz-seeds: $(O)/tests/seed
	mkdir -p $(fuzz_targets:%=tests/fuzz/corpus/%)
	$< tests/fuzz/corpus
