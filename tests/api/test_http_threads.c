/* Many connections at once, streams among them, keys revoked meanwhile, and a stop in the middle of it. */
#include "tests/api/fixture.h"

#include "worker/job_spec.h"

#define N_CLIENTS 12
#define N_ROUNDS 8

struct client {
	struct edge *e;
	pthread_t thread;
	size_t number;
	bool stopping; /* connections may fail */
};

/* Upload, look at it, take it back, delete it: nobody else's requests show. */
static void *client_files(void *arg)
{
	struct client *c = arg;
	char content[64], id[64], path[128];

	for (size_t i = 0; i < N_ROUNDS; i++) {
		struct answer a;
		int n = snprintf(content, sizeof(content), "client %zu round %zu", c->number, i);
		long status = http_upload(&c->e->d, c->e->key, "f", content, (size_t)n, id);

		if (c->stopping && status != 200)
			break;
		assert_int_equal(status, 200);
		snprintf(path, sizeof(path), "/v1/files/%s/content", id);
		a = http_call(&c->e->d, c->e->key, "GET", path, NULL);
		if (!c->stopping || a.status)
			assert_string_equal(a.text, content);
		answer_fini(&a);
		snprintf(path, sizeof(path), "/v1/files/%s", id);
		a = http_call(&c->e->d, c->e->key, "DELETE", path, NULL);
		assert_true(a.status == 200 || c->stopping);
		answer_fini(&a);
	}
	return NULL;
}

/* A tenant of its own, whose key works until it is revoked and never again. */
static void *client_keys(void *arg)
{
	struct client *c = arg;
	char name[64], key[128], id[STORE_ID_SIZE], path[128];

	for (size_t i = 0; i < N_ROUNDS; i++) {
		struct answer a;

		snprintf(name, sizeof(name), "tenant-%zu-%zu", c->number, i);
		edge_tenant(c->e, name, key, id);
		a = http_call(&c->e->d, key, "GET", "/v1/files", NULL);
		assert_int_equal(a.status, 200);
		answer_fini(&a);
		snprintf(path, sizeof(path), "/admin/tenants/%s", id);
		a = http_call(&c->e->d, ADMIN_KEY, "DELETE", path, NULL);
		assert_int_equal(a.status, 200);
		answer_fini(&a);
		a = http_call(&c->e->d, key, "GET", "/v1/files", NULL);
		assert_int_equal(a.status, 401);
		answer_fini(&a);
	}
	return NULL;
}

static void job_make(struct edge *e, struct job *out)
{
	json_t *body = json_object();
	char file[64], *text = NULL;
	struct job_spec spec;
	struct job_new in = {.tenant_id = e->tenant_id, .model = "base", .training_file = file};

	assert_int_equal(http_upload(&e->d, e->key, "t", "x", 1, file), 200);
	assert_int_equal(job_spec_from_request(body, &spec, NULL), OK);
	assert_int_equal(job_spec_encode(&spec, &text), OK);
	in.spec = text;
	assert_int_equal(store_job_create(e->s, &in, out, NULL), OK);
	mem_free(text);
	json_decref(body);
}

static bool count_event(void *arg, const char *data)
{
	*(size_t *)arg += strcmp(data, "[DONE]") != 0;
	return true;
}

/* A job watched from the start to its end: no event is missed, none comes twice. */
static void *client_events(void *arg)
{
	static const struct job_transition cancel = {.to = JOB_CANCELLED};
	struct client *c = arg;
	struct job j = {0};
	struct event *events;
	char path[128];
	size_t seen = 0, n = 0;

	job_make(c->e, &j);
	for (size_t i = 0; i < 20; i++) {
		const struct event_new event = {.level = "info", .type = "message", .message = "words"};

		assert_int_equal(store_event_later(c->e->s, j.id, &event), OK);
	}
	assert_int_equal(store_job_transition(c->e->s, NULL, j.id, &cancel, NULL), OK);
	snprintf(path, sizeof(path), "/v1/fine_tuning/jobs/%s/events?stream=true", j.id);
	assert_int_equal(http_stream(&c->e->d, c->e->key, "GET", path, NULL, count_event, &seen), 200);
	assert_int_equal(store_event_since(c->e->s, j.id, 0, 1000, &events, &n), OK);
	event_list_free(events, n);
	assert_int_equal(seen, n);
	job_fini(&j);
	return NULL;
}

static void clients_start(struct edge *e, struct client *clients, bool stopping)
{
	static void *(*const kinds[])(void *) = {client_files, client_keys, client_events};

	for (size_t i = 0; i < N_CLIENTS; i++) {
		clients[i] = (struct client){.e = e, .number = i, .stopping = stopping};
		assert_int_equal(pthread_create(&clients[i].thread, NULL,
		                         stopping ? client_files : kinds[i % 3], &clients[i]),
		        0);
	}
}

static void test_many_connections_do_not_mix(void **state)
{
	struct client clients[N_CLIENTS];

	clients_start(*state, clients, false);
	for (size_t i = 0; i < N_CLIENTS; i++)
		pthread_join(clients[i].thread, NULL);
}

static void test_stopping_in_the_middle_of_it_all(void **state)
{
	struct client clients[N_CLIENTS];

	clients_start(*state, clients, true);
	edge_join(*state);
	for (size_t i = 0; i < N_CLIENTS; i++)
		pthread_join(clients[i].thread, NULL);
}

/* Clients that leave streams at any moment, while events keep coming. */
static void test_streams_left_in_a_hurry(void **state)
{
	struct edge *e = *state;
	struct job j = {0};

	job_make(e, &j);
	for (size_t i = 0; i < 60; i++) {
		const struct event_new event = {.level = "info", .type = "message", .message = "words"};
		char request[512];
		int fd = edge_connect(e);

		snprintf(request, sizeof(request),
		        "GET /v1/fine_tuning/jobs/%s/events?stream=true HTTP/1.1\r\nHost: "
		        "h\r\nAuthorization: Bearer %s\r\n\r\n",
		        j.id, e->key);
		edge_send(fd, request);
		assert_int_equal(store_event_later(e->s, j.id, &event), OK);
		if (i % 3) {
			struct buf got = edge_receive(fd, i % 3 == 1 ? "HTTP/1.1 200" : "data: ");

			buf_fini(&got);
		}
		close(fd);
	}
	job_fini(&j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_many_connections_do_not_mix, edge_setup, edge_teardown),
	        cmocka_unit_test_setup_teardown(
	                test_stopping_in_the_middle_of_it_all, edge_setup, edge_teardown),
	        cmocka_unit_test_setup_teardown(test_streams_left_in_a_hurry, edge_setup, edge_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
