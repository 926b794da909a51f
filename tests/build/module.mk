# SPDX-License-Identifier: BSD-2-Clause
script_tests += \
	tests/build/layers.sh \
	tests/build/library.sh
