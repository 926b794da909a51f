/* SPDX-License-Identifier: BSD-2-Clause */
/* move_stage.c -- a stage for qemu_move */
#include "move_stage.h"

#include "qemu/guest_ram.h"
#include "qemu/json.h"
#include "qemu/preflight.h"
#include "qemu/proxy_source.h"
#include "util/cleanup.h"
#include "util/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define STAGE_LINE_MAX 8192
#define STAGE_AWAIT_NS (60 * NSEC_PER_SEC)
#define STAGE_UNRAISED 134217728u

struct stage {
	char folder[64];
	char monitor[96];
	char socket[96];
	int listener;
	int wish[2];
	pthread_t qemu, scene;
	void (*play)(struct stage *stage);

	pthread_mutex_t lock;
	/* protected by lock */
	pthread_cond_t changed;
	bool signs[STAGE_SIGNS];
	int client; /* of the monitor, -1: none */
	char runstate[32], status[32], refused[64], stale[32], unfit[128];
	bool may_fall_back;
	struct json_object *parameters, *capabilities; /* by name */

	bool ask, end; /* of the sidecar: what it is to do */
	int answer;
	int ret;
	enum proxy_outcome outcome;
	char why[128];
	struct proxy_stats stats;
};

/* One at a time: what stands in for the sidecar, preflight and memory has no other way to it. */
static struct stage *on_stage;

static void stage_sign(struct stage *stage, enum stage_sign sign)
{
	DECANT_AUTO_UNLOCK(&stage->lock);

	stage->signs[sign] = true;
	pthread_cond_broadcast(&stage->changed);
}

bool stage_saw(struct stage *stage, enum stage_sign sign)
{
	DECANT_AUTO_UNLOCK(&stage->lock);

	return stage->signs[sign];
}

bool stage_await(struct stage *stage, enum stage_sign sign)
{
	const struct timespec deadline = clock_timespec(clock_deadline_ns(STAGE_AWAIT_NS));
	DECANT_AUTO_UNLOCK(&stage->lock);

	while (!stage->signs[sign])
		if (pthread_cond_clockwait(&stage->changed, &stage->lock, CLOCK_MONOTONIC, &deadline) != 0)
			return false;
	return true;
}

/* ---- QEMU's monitor ---- */

/* with the lock */
static void stage_say(struct stage *stage, struct json_object *object)
{
	const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN);
	char line[STAGE_LINE_MAX];
	int length = snprintf(line, sizeof(line), "%s\r\n", text);

	if (stage->client >= 0 && send(stage->client, line, (size_t)length, MSG_NOSIGNAL) != length)
		perror("the stage's monitor");
	json_object_put(object);
}

static struct json_object *stage_answer_migrate(const struct stage *stage)
{
	struct json_object *answer = json_object_new_object(), *ram = json_object_new_object();

	json_add_text(answer, "status", stage->status);
	if (strcmp(stage->status, "failed") == 0)
		json_add_text(answer, "error-desc", "Unable to write to socket: Broken pipe");
	json_add_number(answer, "downtime", 7);
	json_add_number(ram, "total", 1u << 30);
	json_add_number(ram, "remaining", 1u << 28);
	json_add_number(ram, "dirty-sync-count", 3);
	json_object_object_add(answer, "ram", ram);
	return answer;
}

static struct json_object *stage_answer_capabilities(const struct stage *stage)
{
	struct json_object *list = json_object_new_array();

	json_object_object_foreach(stage->capabilities, name, state)
	{
		struct json_object *one = json_object_new_object();

		json_add_text(one, "capability", name);
		json_object_object_add(one, "state", json_object_get(state));
		json_object_array_add(list, one);
	}
	return list;
}

static void stage_set_capabilities(struct stage *stage, struct json_object *arguments)
{
	struct json_object *list = NULL;

	json_object_object_get_ex(arguments, "capabilities", &list);
	for (size_t i = 0; list != NULL && i < json_object_array_length(list); i++) {
		struct json_object *one = json_object_array_get_idx(list, i);

		json_add_bool(stage->capabilities, json_get_text(one, "capability", "?"),
			      json_get_bool(one, "state", false));
	}
}

static void stage_set_parameters(struct stage *stage, struct json_object *arguments)
{
	json_object_object_foreach(arguments, name, value)
	{
		json_object_object_add(stage->parameters, name, json_object_get(value));
	}
}

static struct json_object *stage_answer_status(const struct stage *stage)
{
	struct json_object *answer = json_object_new_object();

	json_add_text(answer, "status", stage->runstate);
	json_add_bool(answer, "running", strcmp(stage->runstate, "running") == 0);
	return answer;
}

static void stage_set_status(struct stage *stage, const char *status)
{
	struct json_object *event = json_object_new_object(), *data = json_object_new_object();

	snprintf(stage->status, sizeof(stage->status), "%s", status);
	json_add_text(data, "status", status);
	json_add_text(event, "event", "MIGRATION");
	json_object_object_add(event, "data", data);
	stage_say(stage, event);
}

/* the return value of a command; with the lock */
static struct json_object *stage_obey(struct stage *stage, const char *command, struct json_object *arguments)
{
	static const struct {
		const char *command;
		enum stage_sign sign;
	} signs[] = {
		{ "migrate", STAGE_TOLD },
		{ "migrate_cancel", STAGE_CANCELLED },
		{ "migrate-continue", STAGE_CONTINUED },
		{ "cont", STAGE_CONT },
		{ "query-status", STAGE_LOOKED },
	};

	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
		if (strcmp(command, signs[i].command) == 0)
			stage->signs[signs[i].sign] = true;
	pthread_cond_broadcast(&stage->changed);
	if (strcmp(command, "migrate") == 0 && stage->stale[0] != '\0')
		stage_set_status(stage, stage->stale);
	if (strcmp(command, "migrate") == 0)
		stage_set_status(stage, "setup");
	else if (strcmp(command, "query-migrate") == 0)
		return stage_answer_migrate(stage);
	else if (strcmp(command, "query-status") == 0)
		return stage_answer_status(stage);
	else if (strcmp(command, "query-migrate-capabilities") == 0)
		return stage_answer_capabilities(stage);
	else if (strcmp(command, "query-migrate-parameters") == 0)
		return json_object_get(stage->parameters);
	else if (strcmp(command, "migrate-set-capabilities") == 0)
		stage_set_capabilities(stage, arguments);
	else if (strcmp(command, "migrate-set-parameters") == 0)
		stage_set_parameters(stage, arguments);
	return json_object_new_object();
}

static void stage_command(struct stage *stage, struct json_object *line)
{
	struct json_object *reply = json_object_new_object(), *error, *arguments = NULL, *id = NULL;
	const char *command = json_get_text(line, "execute", "");
	DECANT_AUTO_UNLOCK(&stage->lock);

	json_object_object_get_ex(line, "arguments", &arguments);
	if (strcmp(command, stage->refused) == 0) {
		error = json_object_new_object();
		json_add_text(error, "class", "GenericError");
		json_add_text(error, "desc", "not today");
		json_object_object_add(reply, "error", error);
	} else {
		json_object_object_add(reply, "return", stage_obey(stage, command, arguments));
	}
	if (json_object_object_get_ex(line, "id", &id))
		json_object_object_add(reply, "id", json_object_get(id));
	stage_say(stage, reply);
}

static void stage_greet(struct stage *stage)
{
	static const char greeting[] =
		"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
		"\"package\": \"the stage\"}, \"capabilities\": [\"oob\"]}}";
	DECANT_AUTO_UNLOCK(&stage->lock);

	stage_say(stage, json_parse_object(greeting, strlen(greeting)));
}

/* One client, until it has gone: all commands are short, and come in one line each. */
static void *stage_qemu(void *opaque)
{
	struct stage *stage = opaque;
	int client = accept(stage->listener, NULL, NULL);
	FILE *input;
	char *line = NULL;
	size_t room = 0;

	if (client < 0)
		return NULL;
	input = fdopen(dup(client), "r");
	pthread_mutex_lock(&stage->lock);
	stage->client = client;
	pthread_mutex_unlock(&stage->lock);
	stage_greet(stage);
	for (ssize_t length; (length = getline(&line, &room, input)) > 0;) {
		struct json_object *object = json_parse_object(line, (size_t)length);

		if (object != NULL)
			stage_command(stage, object);
		json_object_put(object);
	}
	free(line);
	fclose(input);
	pthread_mutex_lock(&stage->lock);
	stage->client = -1;
	pthread_mutex_unlock(&stage->lock);
	close(client);
	return NULL;
}

/* ---- what the scene does ---- */

void stage_runstate(struct stage *stage, const char *status)
{
	DECANT_AUTO_UNLOCK(&stage->lock);

	snprintf(stage->runstate, sizeof(stage->runstate), "%s", status);
}

void stage_refuse(struct stage *stage, const char *command)
{
	DECANT_AUTO_UNLOCK(&stage->lock);

	snprintf(stage->refused, sizeof(stage->refused), "%s", command);
}

void stage_unfit(struct stage *stage, const char *why)
{
	snprintf(stage->unfit, sizeof(stage->unfit), "%s", why);
}

void stage_stale(struct stage *stage, const char *status)
{
	snprintf(stage->stale, sizeof(stage->stale), "%s", status);
}

void stage_wish(struct stage *stage)
{
	if (write(stage->wish[1], "x", 1) != 1)
		perror("the stage's wish");
}

void stage_event(struct stage *stage, const char *name, struct json_object *data)
{
	struct json_object *event = json_object_new_object();
	DECANT_AUTO_UNLOCK(&stage->lock);

	json_add_text(event, "event", name);
	if (data != NULL)
		json_object_object_add(event, "data", data);
	stage_say(stage, event);
}

void stage_status(struct stage *stage, const char *status)
{
	DECANT_AUTO_UNLOCK(&stage->lock);

	stage_set_status(stage, status);
}

void stage_stop(struct stage *stage, const char *status)
{
	pthread_mutex_lock(&stage->lock);
	snprintf(stage->runstate, sizeof(stage->runstate), "%s", status);
	stage->signs[STAGE_LOOKED] = false;
	pthread_mutex_unlock(&stage->lock);
	stage_event(stage, "STOP", NULL);
}

bool stage_await_look(struct stage *stage)
{
	return stage_await(stage, STAGE_LOOKED);
}

void stage_go_on(struct stage *stage)
{
	stage_runstate(stage, "running");
	stage_event(stage, "RESUME", NULL);
}

void stage_hang_up(struct stage *stage)
{
	DECANT_AUTO_UNLOCK(&stage->lock);

	shutdown(stage->client, SHUT_RDWR);
}

void stage_sidecar_reach(struct stage *stage, enum proxy_stage at)
{
	DECANT_AUTO_UNLOCK(&stage->lock);

	stage->stats.stage = at;
}

void stage_sidecar_ask(struct stage *stage)
{
	DECANT_AUTO_UNLOCK(&stage->lock);

	stage->stats.stage = PROXY_CLOSED;
	stage->ask = true;
	pthread_cond_broadcast(&stage->changed);
}

void stage_sidecar_end(struct stage *stage, int ret, enum proxy_outcome outcome, const char *why)
{
	DECANT_AUTO_UNLOCK(&stage->lock);

	stage->end = true;
	stage->ret = ret;
	stage->outcome = outcome;
	snprintf(stage->why, sizeof(stage->why), "%s", why);
	pthread_cond_broadcast(&stage->changed);
}

int stage_answer(struct stage *stage)
{
	return stage->answer;
}

uint64_t stage_setting(struct stage *stage, const char *name)
{
	struct json_object *value = NULL;

	if (json_object_object_get_ex(stage->capabilities, name, &value))
		return json_object_get_boolean(value) ? 1 : 0;
	return json_get_number(stage->parameters, name, UINT64_MAX);
}

bool stage_await_setting(struct stage *stage, const char *name, uint64_t value)
{
	const uint64_t deadline_ns = clock_deadline_ns(STAGE_AWAIT_NS);

	while (clock_now_ns() < deadline_ns) {
		bool is;

		pthread_mutex_lock(&stage->lock);
		is = stage_setting(stage, name) == value;
		pthread_mutex_unlock(&stage->lock);
		if (is)
			return true;
		usleep(1000);
	}
	return false;
}

bool stage_sidecar_may_fall_back(struct stage *stage)
{
	return stage->may_fall_back;
}

static void stage_default_settings(struct stage *stage)
{
	stage->parameters = json_object_new_object();
	json_add_number(stage->parameters, "max-bandwidth", STAGE_UNRAISED);
	json_add_number(stage->parameters, "downtime-limit", 300);
	json_add_number(stage->parameters, "multifd-channels", 2);
	stage->capabilities = json_object_new_object();
	json_add_bool(stage->capabilities, "events", false);
	json_add_bool(stage->capabilities, "multifd", false);
	json_add_bool(stage->capabilities, "auto-converge", false);
}

struct stage *stage_new(void)
{
	const char *tmp = getenv("TMPDIR");
	struct stage *stage = calloc(1, sizeof(*stage));
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(stage->folder, sizeof(stage->folder), "%s/stage.XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(stage->folder) == NULL || pipe2(stage->wish, O_CLOEXEC | O_NONBLOCK) < 0)
		abort();
	snprintf(stage->monitor, sizeof(stage->monitor), "%s/qmp", stage->folder);
	snprintf(stage->socket, sizeof(stage->socket), "%s/move", stage->folder);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", stage->monitor);
	stage->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(stage->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(stage->listener, 1) < 0)
		abort();
	pthread_mutex_init(&stage->lock, NULL);
	pthread_cond_init(&stage->changed, NULL);
	stage->client = -1;
	snprintf(stage->runstate, sizeof(stage->runstate), "running");
	snprintf(stage->status, sizeof(stage->status), "none");
	stage_default_settings(stage);
	on_stage = stage;
	return stage;
}

void stage_free(struct stage *stage)
{
	on_stage = NULL;
	unlink(stage->monitor);
	rmdir(stage->folder);
	close(stage->listener);
	close(stage->wish[0]);
	close(stage->wish[1]);
	json_object_put(stage->parameters);
	json_object_put(stage->capabilities);
	pthread_cond_destroy(&stage->changed);
	pthread_mutex_destroy(&stage->lock);
	free(stage);
}

static void *stage_scene(void *opaque)
{
	struct stage *stage = opaque;

	if (stage->play != NULL)
		stage->play(stage);
	return NULL;
}

int stage_play(struct stage *stage, void (*scene)(struct stage *stage), struct qemu_move_opts *opts,
	       struct qemu_move_result *result, struct decant_error *err)
{
	int ret;

	opts->monitor = stage->monitor;
	opts->socket = stage->socket;
	opts->peer = "there:7000";
	opts->fabric = "tcp";

	opts->wish_fd = stage->wish[0];
	stage->play = scene;
	if (pthread_create(&stage->qemu, NULL, stage_qemu, stage) != 0 ||
	    pthread_create(&stage->scene, NULL, stage_scene, stage) != 0)
		abort();
	ret = qemu_move_run(opts, result, err);
	pthread_join(stage->scene, NULL);
	pthread_join(stage->qemu, NULL);
	return ret;
}

/* ---- the sidecar ---- */

struct proxy_source {
	struct proxy_source_opts opts;
};

int proxy_source_new(const struct proxy_source_opts *opts, struct proxy_source **source, struct decant_error *err)
{
	(void)err;
	*source = calloc(1, sizeof(**source));
	(*source)->opts = *opts;
	on_stage->may_fall_back = opts->fallback && opts->preflight != NULL;
	return 0;
}

static void stage_sidecar_asks(struct stage *stage, struct proxy_source *source)
{
	struct decant_error err = DECANT_ERROR_INIT;
	int answer = source->opts.ops->loaded(source->opts.opaque, &stage->stats, &err);

	DECANT_AUTO_UNLOCK(&stage->lock);
	stage->answer = answer;
	stage->signs[STAGE_ANSWERED] = true;
	pthread_cond_broadcast(&stage->changed);
}

/* until it is told how to end; cancelled, it ends by itself, as the real one does */
int proxy_source_run(struct proxy_source *source, struct proxy_stats *stats, enum proxy_outcome *outcome,
		     struct decant_error *err)
{
	struct stage *stage = on_stage;
	bool asked = false;
	int ret;

	stage_sign(stage, STAGE_SIDECAR_RUNS);
	pthread_mutex_lock(&stage->lock);
	while (!stage->end && !stage->signs[STAGE_SIDECAR_CANCELLED]) {
		if (stage->ask && !asked) {
			asked = true;
			stage->signs[STAGE_ASKED] = true;
			pthread_cond_broadcast(&stage->changed);
			pthread_mutex_unlock(&stage->lock);
			stage_sidecar_asks(stage, source);
			pthread_mutex_lock(&stage->lock);
			continue;
		}
		pthread_cond_wait(&stage->changed, &stage->lock);
	}
	*stats = stage->stats;
	*outcome = stage->end ? stage->outcome : PROXY_FAILED;
	if (!stage->end)
		decant_error_set(err, -ECANCELED, "cancelled");
	else if (stage->ret < 0)
		decant_error_set(err, stage->ret, "%s", stage->why);
	ret = stage->end ? stage->ret : -ECANCELED;
	pthread_mutex_unlock(&stage->lock);
	return ret;
}

void proxy_source_cancel(struct proxy_source *source)
{
	(void)source;
	stage_sign(on_stage, STAGE_SIDECAR_CANCELLED);
}

void proxy_source_free(struct proxy_source *source)
{
	free(source);
}

/* ---- preflight, memory ---- */

struct preflight {
	struct json_object *facts;
	bool raised;
};

int preflight_look(struct qmp *qmp, const struct preflight_opts *opts, struct preflight **preflight,
		   struct decant_error *err)
{
	(void)qmp;
	(void)opts;
	(void)err;
	*preflight = calloc(1, sizeof(**preflight));
	(*preflight)->facts = json_object_new_object();
	return 0;
}

uint32_t preflight_count(const struct preflight *preflight)
{
	(void)preflight;
	return on_stage->unfit[0] != '\0' ? 1 : 0;
}

const char *preflight_unfit(const struct preflight *preflight)
{
	return preflight_count(preflight) > 0 ? on_stage->unfit : NULL;
}

struct json_object *preflight_facts(const struct preflight *preflight)
{
	return preflight->facts;
}

int preflight_change(struct preflight *preflight, struct qmp *qmp, struct decant_error *err)
{
	(void)qmp;
	(void)err;
	preflight->raised = true;
	return 0;
}

int preflight_restore(struct preflight *preflight, struct qmp *qmp, struct decant_error *err)
{
	(void)qmp;
	(void)err;
	preflight->raised = false;
	return 0;
}

void preflight_free(struct preflight *preflight)
{
	if (preflight == NULL)
		return;
	if (preflight->raised && on_stage->client >= 0)
		fprintf(stderr, "the parameters were not put back\n");
	json_object_put(preflight->facts);
	free(preflight);
}

int guest_ram_find(pid_t pid, struct qmp *qmp, const char *proc, struct guest_ram **ram, struct decant_error *err)
{
	(void)pid;
	(void)qmp;
	(void)proc;
	(void)err;
	*ram = NULL;
	return 0;
}

void guest_ram_free(struct guest_ram *ram)
{
	(void)ram;
}
