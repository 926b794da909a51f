/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_qmp.c -- a monitor that answers what it is told to answer, in a thread of its own */
#include "support/fake_qmp.h"

#include "qemu/json.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWERS_MAX 64
#define GREETING                                                                                               \
	"{\"QMP\": {\"version\": {\"qemu\": {\"major\": 10, \"minor\": 0, \"micro\": 2}, \"package\": \"Fake " \
	"1:10\"}, \"capabilities\": [\"oob\"]}}\r\n"

struct answer {
	char *command;
	char *text;
	bool raw;
	bool close;
	unsigned int calls;
};

struct fake_qmp {
	pthread_mutex_t lock; /* of what follows */
	char *greeting;
	struct answer answer[ANSWERS_MAX];
	unsigned int answers;
	struct json_object *capabilities; /* name: bool */
	struct json_object *parameters;

	int fd; /* ours */
	pthread_t thread;
};

static void need(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "fake_qmp: %s\n", what);
	abort();
}

static struct answer *find(struct fake_qmp *fake, const char *command)
{
	for (unsigned int i = 0; i < fake->answers; i++) {
		if (strcmp(fake->answer[i].command, command) == 0)
			return &fake->answer[i];
	}
	return NULL;
}

static void put(struct fake_qmp *fake, const char *command, const char *text, bool raw, bool close)
{
	struct answer *answer;

	pthread_mutex_lock(&fake->lock);
	answer = find(fake, command);
	if (answer == NULL) {
		need(fake->answers < ANSWERS_MAX, "too many answers");
		answer = &fake->answer[fake->answers++];
		*answer = (struct answer){ .command = strdup(command) };
	}
	free(answer->text);
	answer->text = strdup(text);
	answer->raw = raw;
	answer->close = close;
	pthread_mutex_unlock(&fake->lock);
}

void fake_qmp_answer(struct fake_qmp *fake, const char *command, const char *answer)
{
	put(fake, command, answer, false, false);
}

void fake_qmp_raw(struct fake_qmp *fake, const char *command, const char *text, bool close)
{
	put(fake, command, text, true, close);
}

void fake_qmp_greeting(struct fake_qmp *fake, const char *line)
{
	free(fake->greeting);
	fake->greeting = strdup(line);
}

void fake_qmp_capability(struct fake_qmp *fake, const char *name, bool state)
{
	pthread_mutex_lock(&fake->lock);
	json_add_bool(fake->capabilities, name, state);
	pthread_mutex_unlock(&fake->lock);
}

void fake_qmp_parameter(struct fake_qmp *fake, const char *name, const char *value)
{
	struct json_object *parsed = json_tokener_parse(value);

	need(parsed != NULL, value);
	pthread_mutex_lock(&fake->lock);
	json_object_object_add(fake->parameters, name, parsed);
	pthread_mutex_unlock(&fake->lock);
}

uint64_t fake_qmp_number(struct fake_qmp *fake, const char *name)
{
	uint64_t number;

	pthread_mutex_lock(&fake->lock);
	number = json_get_number(fake->parameters, name, json_get_bool(fake->capabilities, name, false));
	pthread_mutex_unlock(&fake->lock);
	return number;
}

unsigned int fake_qmp_calls(struct fake_qmp *fake, const char *command)
{
	struct answer *answer;
	unsigned int calls;

	pthread_mutex_lock(&fake->lock);
	answer = find(fake, command);
	calls = answer != NULL ? answer->calls : 0;
	pthread_mutex_unlock(&fake->lock);
	return calls;
}

struct fake_qmp *fake_qmp_new(void)
{
	struct fake_qmp *fake = calloc(1, sizeof(*fake));

	need(fake != NULL, "no memory");
	pthread_mutex_init(&fake->lock, NULL);
	fake->fd = -1;
	fake->greeting = strdup(GREETING);
	fake->capabilities = json_object_new_object();
	fake->parameters = json_object_new_object();
	fake_qmp_capability(fake, "return-path", true);
	fake_qmp_capability(fake, "multifd", false);
	fake_qmp_parameter(fake, "max-bandwidth", "134217728");
	fake_qmp_parameter(fake, "multifd-channels", "2");
	fake_qmp_parameter(fake, "multifd-compression", "\"none\"");
	fake_qmp_parameter(fake, "tls-creds", "\"\"");
	fake_qmp_parameter(fake, "mode", "\"normal\"");
	fake_qmp_answer(fake, "qmp_capabilities", "{}");
	fake_qmp_answer(fake, "query-status", "{\"status\": \"running\", \"running\": true}");
	fake_qmp_answer(fake, "query-migrate", "{}");
	fake_qmp_answer(fake, "query-memory-size-summary", "{\"base-memory\": 67108864, \"plugged-memory\": 0}");
	fake_qmp_answer(fake, "query-memdev", "[{\"id\": \"mem\", \"size\": 67108864, \"share\": true}]");
	fake_qmp_answer(fake, "qom-get /machine type", "\"pc-i440fx-10.0-machine\"");
	fake_qmp_answer(fake, "qom-get /objects/mem type", "\"memory-backend-memfd\"");
	fake_qmp_answer(fake, "qom-list /machine/peripheral", "[{\"name\": \"type\", \"type\": \"string\"}]");
	fake_qmp_answer(fake, "qom-list /machine/peripheral-anon", "[{\"name\": \"type\", \"type\": \"string\"}]");
	return fake;
}

void fake_qmp_send(struct fake_qmp *fake, const char *text)
{
	for (size_t length = strlen(text); length > 0;) {
		ssize_t sent = send(fake->fd, text, length, MSG_NOSIGNAL);

		if (sent < 0)
			return;
		text += sent;
		length -= (size_t)sent;
	}
}

/* "qom-get PATH PROPERTY" and the like are one name. */
static void name_of(struct json_object *request, char *name, size_t room)
{
	struct json_object *arguments = NULL;
	const char *verb = json_get_text(request, "execute", "");

	json_object_object_get_ex(request, "arguments", &arguments);
	if (strcmp(verb, "qom-get") == 0)
		snprintf(name, room, "%s %s %s", verb, json_get_text(arguments, "path", ""),
			 json_get_text(arguments, "property", ""));
	else if (strcmp(verb, "qom-list") == 0)
		snprintf(name, room, "%s %s", verb, json_get_text(arguments, "path", ""));
	else
		snprintf(name, room, "%s", verb);
}

static void set_capabilities(struct fake_qmp *fake, struct json_object *arguments)
{
	struct json_object *list = NULL;

	json_object_object_get_ex(arguments, "capabilities", &list);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *item = json_object_array_get_idx(list, i);

		json_add_bool(fake->capabilities, json_get_text(item, "capability", "?"),
			      json_get_bool(item, "state", false));
	}
}

static struct json_object *list_capabilities(struct fake_qmp *fake)
{
	struct json_object_iterator at = json_object_iter_begin(fake->capabilities);
	struct json_object_iterator end = json_object_iter_end(fake->capabilities);
	struct json_object *list = json_object_new_array();

	for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
		struct json_object *item = json_object_new_object();

		json_add_text(item, "capability", json_object_iter_peek_name(&at));
		json_object_object_add(item, "state", json_object_get(json_object_iter_peek_value(&at)));
		json_object_array_add(list, item);
	}
	return list;
}

static void set_parameters(struct fake_qmp *fake, struct json_object *arguments)
{
	struct json_object_iterator at = json_object_iter_begin(arguments);
	struct json_object_iterator end = json_object_iter_end(arguments);

	for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at))
		json_object_object_add(fake->parameters, json_object_iter_peek_name(&at),
				       json_object_get(json_object_iter_peek_value(&at)));
}

/* What it does by itself; NULL: it does not know the command. */
static struct json_object *own_answer(struct fake_qmp *fake, const char *name, struct json_object *arguments)
{
	if (strcmp(name, "query-migrate-capabilities") == 0)
		return list_capabilities(fake);
	if (strcmp(name, "query-migrate-parameters") == 0)
		return json_object_get(fake->parameters);
	if (strcmp(name, "migrate-set-capabilities") == 0) {
		set_capabilities(fake, arguments);
		return json_object_new_object();
	}
	if (strcmp(name, "migrate-set-parameters") == 0) {
		set_parameters(fake, arguments);
		return json_object_new_object();
	}
	return NULL;
}

static void send_object(struct fake_qmp *fake, struct json_object *object)
{
	fake_qmp_send(fake, json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
	fake_qmp_send(fake, "\r\n");
	json_object_put(object);
}

static void send_error(struct fake_qmp *fake, const char *text, uint64_t id)
{
	struct json_object *reply = json_object_new_object(), *error = json_object_new_object();

	json_add_text(error, "class", "GenericError");
	json_add_text(error, "desc", text);
	json_object_object_add(reply, "error", error);
	json_add_number(reply, "id", id);
	send_object(fake, reply);
}

static void send_value(struct fake_qmp *fake, struct json_object *value, uint64_t id)
{
	struct json_object *reply = json_object_new_object();

	json_object_object_add(reply, "return", value);
	json_add_number(reply, "id", id);
	send_object(fake, reply);
}

static void send_raw(struct fake_qmp *fake, const struct answer *answer, uint64_t id)
{
	char number[24];

	snprintf(number, sizeof(number), "%llu", (unsigned long long)id);
	for (const char *at = answer->text; *at != '\0';) {
		char piece[4096];
		size_t length = strcspn(at, "$");

		length = length < sizeof(piece) - 1 ? length : sizeof(piece) - 1;
		memcpy(piece, at, length);
		piece[length] = '\0';
		fake_qmp_send(fake, piece);
		at += length;
		if (*at == '$') {
			fake_qmp_send(fake, number);
			at++;
		}
	}
}

/* false: it is to close */
static bool reply_to(struct fake_qmp *fake, struct json_object *request)
{
	uint64_t id = json_get_number(request, "id", 0);
	struct json_object *arguments = NULL, *value;
	struct answer answer, *kept;
	char name[256];

	name_of(request, name, sizeof(name));
	json_object_object_get_ex(request, "arguments", &arguments);
	pthread_mutex_lock(&fake->lock);
	kept = find(fake, name);
	value = kept == NULL ? own_answer(fake, name, arguments) : NULL;
	answer = kept != NULL ? *kept : (struct answer){ 0 };
	answer.text = answer.text != NULL ? strdup(answer.text) : NULL;
	if (kept != NULL)
		kept->calls++;
	pthread_mutex_unlock(&fake->lock);
	if (value != NULL)
		send_value(fake, value, id);
	else if (kept == NULL)
		send_error(fake, "The command has not been found", id);
	else if (answer.raw)
		send_raw(fake, &answer, id);
	else if (answer.text[0] == '!')
		send_error(fake, answer.text + 1, id);
	else
		send_value(fake, json_tokener_parse(answer.text), id);
	free(answer.text);
	return !answer.close;
}

static void *serve(void *opaque)
{
	struct fake_qmp *fake = opaque;
	FILE *lines = fdopen(dup(fake->fd), "r");
	char *line = NULL;
	size_t room = 0;
	bool open = true;

	fake_qmp_send(fake, fake->greeting);
	while (open && getline(&line, &room, lines) > 0) {
		struct json_object *request = json_tokener_parse(line);

		need(request != NULL, "the client sent no JSON");
		open = reply_to(fake, request);
		json_object_put(request);
	}
	shutdown(fake->fd, SHUT_RDWR);
	free(line);
	fclose(lines);
	return NULL;
}

int fake_qmp_connect(struct fake_qmp *fake)
{
	int pair[2];

	need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
	fake->fd = pair[0];
	need(pthread_create(&fake->thread, NULL, serve, fake) == 0, "pthread_create");
	return pair[1];
}

void fake_qmp_free(struct fake_qmp *fake)
{
	if (fake->fd >= 0) {
		shutdown(fake->fd, SHUT_RDWR);
		pthread_join(fake->thread, NULL);
		close(fake->fd);
	}
	for (unsigned int i = 0; i < fake->answers; i++) {
		free(fake->answer[i].command);
		free(fake->answer[i].text);
	}
	free(fake->greeting);
	json_object_put(fake->capabilities);
	json_object_put(fake->parameters);
	pthread_mutex_destroy(&fake->lock);
	free(fake);
}
