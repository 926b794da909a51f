# SPDX-License-Identifier: BSD-2-Clause
fuzz_targets += fuzz_wire
fuzz_wire_srcs := \
	tests/support/wire_any.c \
	tests/fuzz/fuzz_wire.c
fuzz_targets += fuzz_state
fuzz_state_srcs := tests/fuzz/fuzz_state.c
fuzz_targets += fuzz_frame
fuzz_frame_srcs := tests/fuzz/fuzz_frame.c

fuzz_seed_srcs := \
	tests/support/wire_any.c \
	tests/fuzz/seed.c
$(O)/tests/seed: $(fuzz_seed_srcs) $(O)/libdecant.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(DECANT_CPPFLAGS) -Iinclude -Itransport -Itests $(CPPFLAGS) $(DECANT_CFLAGS) $(CFLAGS) \
		$(DECANT_LDFLAGS) $(LDFLAGS) -o $@ $^ $(LIB_LIBS)
.PHONY: fuzz-seeds
fuzz-seeds: $(O)/tests/seed
	mkdir -p tests/fuzz/corpus/fuzz_wire tests/fuzz/corpus/fuzz_state
	$< tests/fuzz/corpus/fuzz_wire tests/fuzz/corpus/fuzz_state
