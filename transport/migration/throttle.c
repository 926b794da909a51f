/* SPDX-License-Identifier: BSD-2-Clause */
/* throttle.c -- slows the vCPUs that dirty memory, until pre-copy converges */
#include "migration/throttle.h"

#include "migration/source.h"
#include "util/clock.h"
#include "util/log.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More vCPUs than any KVM has. */
#define VCPUS_MAX 8192u

/* A pass shall leave so much of what it has sent. */
#define KEEP_PERMILLE 500u

/* One step lets a vCPU keep no less of what it does. */
#define STEP_PERMILLE_MIN 250u

/* So many passes in a row that were not a tenth better than the best before. */
#define STAGNANT_BEGIN 2u

/* And so many with nothing left to slow: then it never will. */
#define IN_VAIN_MAX 5u

/* A slowed vCPU that dirties less than this part of what it may gets time back. */
#define IDLE_PART 8u

/* ---- the plan ---- */

uint32_t throttle_keep(uint64_t dirty_Bps, uint64_t rate_Bps)
{
	double keep;

	if (dirty_Bps == 0 || rate_Bps == 0)
		return 1000;
	keep = (double)rate_Bps / (double)dirty_Bps * KEEP_PERMILLE;
	if (keep >= 1000)
		return 1000;
	return keep < STEP_PERMILLE_MIN ? STEP_PERMILLE_MIN : (uint32_t)keep;
}

static uint64_t sum_up_to(const struct throttle_vcpu *vcpu, uint32_t count, uint64_t level)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count; i++)
		sum += vcpu[i].pages < level ? vcpu[i].pages : level;
	return sum;
}

/* The largest level with which they dirty no more than @most together. */
static uint64_t find_level(const struct throttle_vcpu *vcpu, uint32_t count, uint64_t most)
{
	uint64_t low = 0, high = most;

	while (low < high) {
		const uint64_t middle = high - (high - low) / 2;

		if (sum_up_to(vcpu, count, middle) <= most)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

/* So that it dirties @level pages where it has dirtied more. */
static uint32_t share_for(const struct throttle_vcpu *vcpu, uint64_t level)
{
	const uint32_t runs = 1000 - vcpu->share;
	uint32_t share;

	if (vcpu->pages > level) {
		share = 1000 - (uint32_t)((double)runs * (double)level / (double)vcpu->pages);
		return share < DECANT_THROTTLE_MAX_PERMILLE ? share : DECANT_THROTTLE_MAX_PERMILLE;
	}
	if (vcpu->pages >= level / IDLE_PART)
		return vcpu->share;
	return runs < 500 ? 1000 - 2 * runs : 0;
}

/* In thousandths of a page, so that a level is fine enough for any number of pages. */
bool throttle_plan(struct throttle_vcpu *vcpu, uint32_t count, uint32_t keep)
{
	bool risen = false;
	uint64_t level;

	for (uint32_t i = 0; i < count; i++)
		vcpu[i].pages *= 1000;
	level = find_level(vcpu, count, sum_up_to(vcpu, count, UINT64_MAX) / 1000 * keep);
	for (uint32_t i = 0; i < count; i++) {
		const uint32_t share = share_for(&vcpu[i], level);

		risen |= share > vcpu[i].share;
		vcpu[i].share = share;
		if (share > vcpu[i].share_max)
			vcpu[i].share_max = share;
		vcpu[i].pages /= 1000;
	}
	return risen;
}

/* ---- what the VMM knows and does ---- */

static int find_vcpus(struct decant_migration *m, struct decant_error *err)
{
	struct throttle *throttle = &m->throttle;
	uint64_t pages;
	uint32_t count = 0;

	while (count < VCPUS_MAX && m->ops.vcpu_dirtied(m->vmm, count, &pages, NULL) != -ENOENT)
		count++;
	throttle->vcpu = calloc(count > 0 ? count : 1, sizeof(*throttle->vcpu));
	if (throttle->vcpu == NULL)
		return decant_error_set(err, -ENOMEM, "throttle: out of memory");
	throttle->count = count;
	return 0;
}

/* What each has dirtied since the time before. */
static int count_dirtied(struct decant_migration *m, struct decant_error *err)
{
	struct throttle *throttle = &m->throttle;
	int rc = throttle->vcpu == NULL ? find_vcpus(m, err) : 0;

	for (uint32_t i = 0; rc == 0 && i < throttle->count; i++) {
		struct throttle_vcpu *vcpu = &throttle->vcpu[i];
		uint64_t pages = 0;

		rc = m->ops.vcpu_dirtied(m->vmm, i, &pages, err);
		throttle->alike |= rc == -EOPNOTSUPP;
		vcpu->pages = pages - vcpu->dirtied;
		vcpu->dirtied = pages;
		if (rc == -EOPNOTSUPP) {
			decant_error_clear(err);
			rc = 0;
		}
	}
	for (uint32_t i = 0; rc == 0 && throttle->alike && i < throttle->count; i++)
		throttle->vcpu[i].pages = 1;
	return rc;
}

static void note_shares(struct decant_migration *m)
{
	const struct throttle *throttle = &m->throttle;

	m->now.throttle_permille = 0;
	m->now.throttle_alike = throttle->alike && throttle->count > 1;
	m->now.throttle_vcpus = throttle->count < DECANT_VCPUS_KEPT ? throttle->count : DECANT_VCPUS_KEPT;
	for (uint32_t i = 0; i < throttle->count; i++) {
		const struct throttle_vcpu *vcpu = &throttle->vcpu[i];

		if (vcpu->share > m->now.throttle_permille)
			m->now.throttle_permille = vcpu->share;
		if (vcpu->share_max > m->now.throttle_max_permille)
			m->now.throttle_max_permille = vcpu->share_max;
		if (i < DECANT_VCPUS_KEPT)
			m->now.throttle_vcpu_max_permille[i] = (uint16_t)vcpu->share_max;
	}
}

/* All of them, whether changed or not: they are few, and a VMM that is told twice does nothing. */
static int apply(struct decant_migration *m, struct decant_error *err)
{
	struct throttle *throttle = &m->throttle;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < throttle->count; i++)
		if (throttle->vcpu[i].share_max > 0)
			rc = m->ops.throttle(m->vmm, i, throttle->vcpu[i].share, err);
	note_shares(m);
	if (rc < 0)
		decant_error_prefix(err, "slowing the vCPUs that dirty");
	return rc;
}

/* ---- deciding ---- */

static void begin(struct decant_migration *m)
{
	struct throttle *throttle = &m->throttle;

	log_info(&m->opts.log,
		 "the guest dirties %" PRIu64 " MB/s, and %" PRIu64 " MB/s are carried: slowing %s of its %" PRIu32
		 " vCPUs",
		 m->now.dirty_rate_Bps / 1000000, m->now.rate_Bps / 1000000,
		 throttle->alike ? "all" : "those that dirty", throttle->count);
	if (throttle->alike && throttle->count > 1)
		log_warning(&m->opts.log, "this VM's dirty tracking does not tell which vCPUs dirty: all are "
					  "slowed alike; its dirty ring would tell");
	throttle->begun = true;
	throttle->since_ns = clock_now_ns();
}

/* Can it be that slowing vCPUs helps, and is it time to? */
static bool is_due(const struct decant_migration *m, enum forecast_decision decision)
{
	if (decision == FORECAST_SWITCH || m->now.forecast_downtime_ns <= m->opts.max_downtime_ns)
		return false;
	if (m->forecast.fixed_ns >= m->opts.max_downtime_ns)
		return false;
	return m->throttle.begun || decision == FORECAST_NEVER || m->forecast.stagnant >= STAGNANT_BEGIN;
}

static int raise_shares(struct decant_migration *m, uint32_t keep, bool *risen, struct decant_error *err)
{
	int rc;

	if (!m->throttle.begun)
		begin(m);
	*risen = throttle_plan(m->throttle.vcpu, m->throttle.count, keep);
	rc = apply(m, err);
	log_debug(&m->opts.log,
		  "throttle: the guest may dirty %" PRIu32 " permille of what it did: up to %" PRIu32
		  " permille of a vCPU's time",
		  keep, m->now.throttle_permille);
	return rc;
}

int throttle_step(struct decant_migration *m, enum forecast_decision *decision, struct decant_error *err)
{
	const uint32_t keep = throttle_keep(m->now.dirty_rate_Bps, m->now.rate_Bps);
	bool risen = false;
	int rc;

	if (m->opts.if_not_converging != DECANT_NOT_CONVERGING_THROTTLE)
		return 0;
	rc = count_dirtied(m, err);
	if (rc < 0 || !is_due(m, *decision))
		return rc;
	if (keep < 1000)
		rc = raise_shares(m, keep, &risen, err);
	if (rc < 0 || *decision != FORECAST_NEVER)
		return rc;
	m->throttle.in_vain = risen ? 0 : m->throttle.in_vain + 1;
	if (m->throttle.in_vain < IN_VAIN_MAX)
		*decision = FORECAST_PASS;
	return 0;
}

void throttle_end(struct decant_migration *m)
{
	struct throttle *throttle = &m->throttle;
	struct decant_error err = DECANT_ERROR_INIT;

	if (throttle->since_ns == 0)
		return;
	for (uint32_t i = 0; i < throttle->count; i++) {
		if (throttle->vcpu[i].share_max > 0 && m->ops.throttle(m->vmm, i, 0, &err) < 0)
			log_err(&m->opts.log, "vCPU %" PRIu32 " could not be given its time back: %s", i, err.msg);
		throttle->vcpu[i].share = 0;
	}
	m->now.throttle_permille = 0;
	m->now.throttle_ns += clock_now_ns() - throttle->since_ns;
	throttle->since_ns = 0;
}

const char *throttle_words(const struct decant_migration *m, char *text, size_t length)
{
	text[0] = '\0';
	if (m->throttle.begun)
		snprintf(text, length,
			 ", although vCPUs were kept from running for up to %" PRIu32 ".%" PRIu32
			 " %% of their time",
			 m->now.throttle_max_permille / 10, m->now.throttle_max_permille % 10);
	return text;
}

void throttle_destroy(struct throttle *throttle)
{
	free(throttle->vcpu);
	throttle->vcpu = NULL;
}
