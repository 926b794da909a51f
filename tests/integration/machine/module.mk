# SPDX-License-Identifier: BSD-2-Clause
integration_tests += quiet_pause
quiet_pause_srcs := tests/integration/machine/quiet_pause.c
heavy_tests += quiet_pause
# it holds a pause to milliseconds, and a sanitizer takes longer than that
no_sanitize_tests += quiet_pause

integration_tests += there_and_back
there_and_back_srcs := tests/integration/machine/there_and_back.c
# sanitizers keep what is freed
no_sanitize_tests += there_and_back

integration_tests += bare_pause
bare_pause_srcs := tests/integration/machine/bare_pause.c
# it stands in for malloc itself
no_sanitize_tests += bare_pause
