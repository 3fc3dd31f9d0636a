/*
 * What tests of the edge begin with: the edge on a loop thread of its own over a real store, without an
 * engine. It is spoken to with the calls of tests/support/daemon.h, or byte by byte over a socket.
 */
#ifndef REDD_TESTS_API_FIXTURE_H
#define REDD_TESTS_API_FIXTURE_H

#include "api/api.h"
#include "core/buf.h"
#include "core/mem.h"
#include "tests/support/daemon.h"

#include <arpa/inet.h>
#include <ftw.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#define ADMIN_KEY "admin-key-of-the-test"
#define RECEIVE_TIMEOUT_S 60

enum edge_order { EDGE_NONE, EDGE_DRAIN, EDGE_STOP };

struct edge {
	struct daemon d; /* its url and admin_key, for the http_ calls */
	char dir[64];
	struct store *s;
	struct api_options options;
	pthread_t thread;
	bool running;
	uv_loop_t loop;
	uv_async_t orders;
	struct api *api;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	enum edge_order order;
	bool started;
	enum err start_err;
	struct why why;
	char key[128]; /* of the tenant "ann" */
	char tenant_id[STORE_ID_SIZE];
};

static inline int edge_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void edge_stopped(void *arg)
{
	struct edge *e = arg;

	uv_close((uv_handle_t *)&e->orders, NULL);
}

static inline void edge_on_order(uv_async_t *async)
{
	struct edge *e = async->data;
	enum edge_order order;

	pthread_mutex_lock(&e->lock);
	order = e->order;
	e->order = EDGE_NONE;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
	if (order == EDGE_DRAIN)
		api_drain(e->api);
	else if (order == EDGE_STOP)
		api_stop(e->api, edge_stopped, e);
}

static inline void *edge_thread(void *arg)
{
	struct edge *e = arg;
	enum err err;

	assert_int_equal(uv_loop_init(&e->loop), 0);
	assert_int_equal(uv_async_init(&e->loop, &e->orders, edge_on_order), 0);
	e->orders.data = e;
	err = api_start(&e->loop, &e->options, e->s, NULL, &e->api, &e->why);
	if (err)
		uv_close((uv_handle_t *)&e->orders, NULL);
	pthread_mutex_lock(&e->lock);
	e->start_err = err;
	e->started = true;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
	uv_run(&e->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&e->loop), 0);
	return NULL;
}

static inline void edge_order(struct edge *e, enum edge_order order)
{
	pthread_mutex_lock(&e->lock);
	e->order = order;
	uv_async_send(&e->orders);
	while (order == EDGE_DRAIN && e->order != EDGE_NONE)
		pthread_cond_wait(&e->changed, &e->lock);
	pthread_mutex_unlock(&e->lock);
}

/* e->options may have been set; listen, descriptor and admin key are filled in here. The error of
 * api_start(). */
static inline enum err edge_start(struct edge *e, const char *listen)
{
	snprintf(e->dir, sizeof(e->dir), "/tmp/redd-api-XXXXXX");
	assert_non_null(mkdtemp(e->dir));
	assert_int_equal(store_open(e->dir, &e->s, &e->why), OK);
	e->options.listen = listen;
	e->options.listen_fd = -1;
	hash_bytes(ADMIN_KEY, strlen(ADMIN_KEY), e->options.admin_key_hash);
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->changed, NULL);
	assert_int_equal(pthread_create(&e->thread, NULL, edge_thread, e), 0);
	pthread_mutex_lock(&e->lock);
	while (!e->started)
		pthread_cond_wait(&e->changed, &e->lock);
	pthread_mutex_unlock(&e->lock);
	e->running = true;
	if (!e->start_err) {
		snprintf(e->d.spawn.url, sizeof(e->d.spawn.url), "http://%s", api_address(e->api));
		snprintf(e->d.admin_key, sizeof(e->d.admin_key), "%s", ADMIN_KEY);
	}
	return e->start_err;
}

static inline void edge_join(struct edge *e)
{
	if (!e->running)
		return;
	if (!e->start_err)
		edge_order(e, EDGE_STOP);
	pthread_join(e->thread, NULL);
	e->running = false;
}

static inline void edge_stop(struct edge *e)
{
	edge_join(e);
	store_close(e->s);
	pthread_mutex_destroy(&e->lock);
	pthread_cond_destroy(&e->changed);
	nftw(e->dir, edge_remove, 8, FTW_DEPTH | FTW_PHYS);
}

/* A tenant, through the admin's routes. */
static inline void edge_tenant(struct edge *e, const char *name, char key[128], char id[STORE_ID_SIZE])
{
	json_t *body = json_pack("{s:s}", "name", name);
	struct answer a = http_call(&e->d, ADMIN_KEY, "POST", "/admin/tenants", body);

	assert_int_equal(a.status, 200);
	snprintf(key, 128, "%s", json_string_value(json_object_get(a.json, "api_key")));
	snprintf(id, STORE_ID_SIZE, "%s", json_string_value(json_object_get(a.json, "id")));
	json_decref(body);
	answer_fini(&a);
}

static inline int edge_setup_with(void **state, const struct api_options *options)
{
	struct edge *e = mem_calloc(1, sizeof(*e));

	assert_non_null(e);
	e->options = *options;
	assert_int_equal(edge_start(e, "127.0.0.1:0"), OK);
	if (!options->no_auth)
		edge_tenant(e, "ann", e->key, e->tenant_id);
	*state = e;
	return 0;
}

static inline int edge_setup(void **state)
{
	static const struct api_options plain = {0};

	return edge_setup_with(state, &plain);
}

static inline int edge_teardown(void **state)
{
	edge_stop(*state);
	mem_free(*state);
	return 0;
}

/* ---- byte by byte ---- */

static inline int edge_connect(const struct edge *e)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct timeval patience = {.tv_sec = RECEIVE_TIMEOUT_S};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to.sin_port = htons((uint16_t)atoi(strrchr(e->d.spawn.url, ':') + 1));
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static inline void edge_send(int fd, const char *text)
{
	size_t n = strlen(text);

	assert_int_equal(send(fd, text, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* Read until `until` has been seen, or, NULL, until the other side closes. buf_fini() the result. */
static inline struct buf edge_receive(int fd, const char *until)
{
	struct buf b = {0};
	char chunk[4096];
	ssize_t n;

	assert_int_equal(buf_reserve(&b, 0), OK);
	while (!(until && strstr(b.data, until)) && (n = recv(fd, chunk, sizeof(chunk), 0)) > 0)
		assert_int_equal(buf_append(&b, chunk, (size_t)n), OK);
	return b;
}

/* Send a whole request that ends with the connection, and take all that comes. */
static inline struct buf edge_dialogue(const struct edge *e, const char *request)
{
	int fd = edge_connect(e);
	struct buf b;

	edge_send(fd, request);
	b = edge_receive(fd, NULL);
	close(fd);
	return b;
}

/* The error body has the wire's shape; type, param and code are as given (NULL = null). */
static inline void expect_error(struct answer a, long status, const char *type, const char *param,
        const char *code, const char *words)
{
	const json_t *error = json_object_get(a.json, "error");
	const char *message = json_string_value(json_object_get(error, "message"));

	assert_string_equal(a.content_type, "application/json");
	assert_int_equal(a.status, status);
	assert_int_equal(json_object_size(error), 4);
	assert_non_null(message);
	if (words && !strstr(message, words))
		fail_msg("\"%s\" does not say \"%s\"", message, words);
	assert_string_equal(json_string_value(json_object_get(error, "type")), type);
	if (param)
		assert_string_equal(json_string_value(json_object_get(error, "param")), param);
	else
		assert_true(json_is_null(json_object_get(error, "param")));
	if (code)
		assert_string_equal(json_string_value(json_object_get(error, "code")), code);
	else
		assert_true(json_is_null(json_object_get(error, "code")));
	answer_fini(&a);
}

static inline const char *text_of(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

#endif
