# SPDX-License-Identifier: BSD-2-Clause
script_tests += tests/cli/main_job.py
heavy_tests += main_job
main_job_timeout := 300
