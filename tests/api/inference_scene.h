/*
 * One request on the stage of inference_world.h: an exchange with a worker of its own, played by the test and
 * looked at afterwards. Included once by a test program.
 */
#ifndef REDD_TESTS_API_INFERENCE_SCENE_H
#define REDD_TESTS_API_INFERENCE_SCENE_H

#include "tests/api/inference_world.h"

#define COMPLETION "/v1/completions"
#define CHAT "/v1/chat/completions"
#define CHAT_HI "{\"model\":\"tuned\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"

/* One exchange with one worker. */
struct scene {
	struct worker worker;
	struct exchange x;
};

static inline enum exchange_verdict call(struct exchange *x, const char *path)
{
	for (const struct route *r = inference_routes; r->method; r++)
		if (!strcmp(r->pattern, path)) {
			assert_string_equal(r->method, "POST");
			assert_int_equal(r->auth, ROUTE_TENANT);
			return r->handler(x);
		}
	fail_msg("no route %s", path);
	return EXCHANGE_DONE;
}

static inline struct scene *scene_new(void)
{
	struct scene *s = mem_calloc(1, sizeof(*s));

	assert_non_null(s);
	world_worker_init(&s->worker);
	return s;
}

static inline struct scene *scene_open(const char *path, const char *body)
{
	struct scene *s = scene_new();

	world_exchange_init(&s->x, &s->worker, body);
	assert_int_equal(call(&s->x, path), EXCHANGE_LATER);
	return s;
}

static inline void scene_close(struct scene *s)
{
	assert_int_equal(s->x.n_answers, 1);
	world_exchange_fini(&s->x);
	world_worker_fini(&s->worker);
	mem_free(s);
}

static inline json_t *choice_of(const struct scene *s, size_t i)
{
	return json_array_get(json_object_get(s->x.reply, "choices"), i);
}

static inline const char *text_of(const struct scene *s, size_t i)
{
	return json_string_value(json_object_get(choice_of(s, i), "text"));
}

static inline const char *error_field(const struct scene *s, const char *field)
{
	return json_string_value(json_object_get(json_object_get(s->x.reply, "error"), field));
}

static inline json_int_t usage_of(const json_t *answer, const char *field)
{
	return json_integer_value(json_object_get(json_object_get(answer, "usage"), field));
}

/* The i-th event's JSON, a new reference; NULL for [DONE]. The stream must have it. */
static inline json_t *event(const struct scene *s, size_t i)
{
	const char *at = s->x.stream.data;
	const char *end;
	json_t *json;

	for (; i > 0; i--) {
		at = strstr(at, "\n\n");
		assert_non_null(at);
		at += 2;
	}
	assert_int_equal(strncmp(at, "data: ", 6), 0);
	end = strstr(at, "\n\n");
	assert_non_null(end);
	json = json_loadb(at + 6, (size_t)(end - at - 6), 0, NULL);
	assert_true(json || !strncmp(at, "data: [DONE]\n\n", 14));
	return json;
}

static inline size_t n_events(const struct scene *s)
{
	size_t n = 0;

	for (const char *at = s->x.stream.data; at && (at = strstr(at, "\n\n")); at += 2)
		n++;
	return n;
}

#endif
