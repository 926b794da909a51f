/* SPDX-License-Identifier: BSD-2-Clause */
/* move_sidecar.c -- the source's sidecar in a thread of this process */
#include "qemu/move_sidecar.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "util/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct move_sidecar {
	/* set at creation, read-only after */
	struct proxy_source *source;
	pthread_t thread;
	int wake_fd;

	pthread_mutex_t lock;
	/* protected by lock */
	pthread_cond_t answered; /* signalled when @has_answer turns true */
	bool has_answer;
	int answer;
	struct decant_error why;
	struct move_sidecar_view view;
};

static void sidecar_progress(void *opaque, const struct proxy_stats *stats)
{
	struct move_sidecar *sidecar = opaque;
	DECANT_AUTO_UNLOCK(&sidecar->lock);

	sidecar->view.stats = *stats;
	io_wake_set(sidecar->wake_fd);
}

static int sidecar_loaded(void *opaque, const struct proxy_stats *stats, struct decant_error *err)
{
	struct move_sidecar *sidecar = opaque;
	DECANT_AUTO_UNLOCK(&sidecar->lock);

	sidecar->view.stats = *stats;
	sidecar->view.loaded = true;
	io_wake_set(sidecar->wake_fd);
	while (!sidecar->has_answer)
		pthread_cond_wait(&sidecar->answered, &sidecar->lock);
	if (sidecar->answer < 0)
		return decant_error_set(err, sidecar->answer, "%s", sidecar->why.msg);
	sidecar->view.to_start = sidecar->answer > 0;
	return sidecar->answer;
}

static void *sidecar_main(void *opaque)
{
	struct move_sidecar *sidecar = opaque;
	struct move_sidecar_view end = { .err = DECANT_ERROR_INIT };

	end.ret = proxy_source_run(sidecar->source, &end.stats, &end.outcome, &end.err);
	{
		DECANT_AUTO_UNLOCK(&sidecar->lock);

		end.loaded = sidecar->view.loaded;
		end.to_start = sidecar->view.to_start;
		end.ended = true;
		sidecar->view = end;
		io_wake_set(sidecar->wake_fd);
	}
	return NULL;
}

static int sidecar_begin(struct move_sidecar *sidecar, const struct proxy_source_opts *opts,
			 struct decant_error *err)
{
	static const struct proxy_source_ops ops = { .progress = sidecar_progress, .loaded = sidecar_loaded };
	struct proxy_source_opts own = *opts;
	int ret;

	own.ops = &ops;
	own.opaque = sidecar;
	ret = proxy_source_new(&own, &sidecar->source, err);
	if (ret < 0)
		return ret;
	ret = thread_start(&sidecar->thread, "decant-sidecar", sidecar_main, sidecar);
	if (ret < 0) {
		proxy_source_free(sidecar->source);
		return decant_error_set(err, ret, "a thread for the sidecar: %s", strerror(-ret));
	}
	return 0;
}

int move_sidecar_new(const struct proxy_source_opts *opts, struct move_sidecar **sidecar, struct decant_error *err)
{
	struct move_sidecar *made = calloc(1, sizeof(*made));
	int ret;

	if (made == NULL)
		return decant_error_set(err, -ENOMEM, "the sidecar: no memory");
	pthread_mutex_init(&made->lock, NULL);
	pthread_cond_init(&made->answered, NULL);
	made->wake_fd = io_wake_new();
	if (made->wake_fd < 0)
		ret = decant_error_set(err, made->wake_fd, "eventfd: %s", strerror(-made->wake_fd));
	else
		ret = sidecar_begin(made, opts, err);
	if (ret < 0) {
		if (made->wake_fd >= 0)
			close(made->wake_fd);
		pthread_cond_destroy(&made->answered);
		pthread_mutex_destroy(&made->lock);
		free(made);
		return ret;
	}
	*sidecar = made;
	return 0;
}

int move_sidecar_fd(const struct move_sidecar *sidecar)
{
	return sidecar->wake_fd;
}

void move_sidecar_view(struct move_sidecar *sidecar, struct move_sidecar_view *view)
{
	DECANT_AUTO_UNLOCK(&sidecar->lock);

	io_wake_reset(sidecar->wake_fd);
	*view = sidecar->view;
}

void move_sidecar_answer(struct move_sidecar *sidecar, int answer, const struct decant_error *why)
{
	DECANT_AUTO_UNLOCK(&sidecar->lock);

	if (sidecar->has_answer)
		return;
	sidecar->has_answer = true;
	sidecar->answer = answer;
	if (why != NULL)
		sidecar->why = *why;
	pthread_cond_broadcast(&sidecar->answered);
}

void move_sidecar_cancel(struct move_sidecar *sidecar)
{
	proxy_source_cancel(sidecar->source);
}

void move_sidecar_free(struct move_sidecar *sidecar)
{
	static const struct decant_error given_up = { -ECANCELED, "given up" };

	if (sidecar == NULL)
		return;
	move_sidecar_answer(sidecar, -ECANCELED, &given_up);
	move_sidecar_cancel(sidecar);
	pthread_join(sidecar->thread, NULL);
	proxy_source_free(sidecar->source);
	close(sidecar->wake_fd);
	pthread_cond_destroy(&sidecar->answered);
	pthread_mutex_destroy(&sidecar->lock);
	free(sidecar);
}
