/* ctl/client and ctl/watch against a small server of our own that answers by path and keeps what it was sent.
 */
#include "daemon/ctl/client.h"

#include "core/buf.h"
#include "core/mem.h"
#include "daemon/ctl/args.h"
#include "daemon/ctl/watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <microhttpd.h>

#include <cmocka.h>

/* Written by the server's one thread while the client waits, read by the test when it does not. */
static struct {
	struct MHD_Daemon *http;
	char url[64];
	char method[16], path[128], authorization[64], content_type[128];
	struct buf body;
	unsigned n_polls; /* of the job */
} server;

static const struct {
	const char *path;
	unsigned status;
	const char *text;
} answers[] = {
        {"/v1/models", 200, "{\"data\":[{\"id\":\"ft:a\"},{\"id\":\"base\"}]}"},
        {"/v1/files", 200, "{\"id\":\"file-1\"}"},
        {"/refuse", 400,
                "{\"error\":{\"message\":\"must be a number\",\"param\":\"seed\",\"code\":\"bad\"}}"},
        {"/refuse-twice", 400, "{\"error\":{\"message\":\"seed must be a number\",\"param\":\"h.seed\"}}"},
        {"/key", 401, "{\"error\":{\"message\":\"wrong key\",\"param\":null,\"code\":\"invalid_api_key\"}}"},
        {"/busy", 503, "no JSON"},
        {"/text", 200, "hello"},
        {"/stream", 200, "data: {\"n\":1}\n\n: ping\n\ndata: {\"n\":2}\n\ndata: [DONE]\n\n"},
        {"/cut", 200, "data: {\"n\":1}\n\n"},
        {"/broken", 200, "data: {\"n\":1}\n\ndata: {\"error\":{\"message\":\"engine stopped\"}}\n\n"},
        {"/v1/fine_tuning/jobs/ftjob-1/events", 200,
                "{\"data\":[{\"id\":\"e2\",\"level\":\"warn\",\"message\":\"row 7 is cut\"},"
                "{\"id\":\"e1\",\"level\":\"info\",\"message\":\"m\",\"data\":{\"train_loss\":2.5}}],\"has_"
                "more\":false}"},
};

/* The job's life, one poll after the other. */
static const char *const lives[] = {
        "{\"id\":\"ftjob-1\",\"status\":\"queued\",\"queue_position\":2}",
        "{\"id\":\"ftjob-1\",\"status\":\"running\",\"progress\":{\"step\":4,\"total_steps\":8,\"tokens_per_"
        "second\":900}}",
        "{\"id\":\"ftjob-1\",\"status\":\"succeeded\",\"fine_tuned_model\":\"ft:x\",\"progress\":{\"step\":8,"
        "\"total_steps\":8}}",
};

static const char *find_answer(const char *path, unsigned *status)
{
	*status = 200;
	if (strcmp(path, "/v1/fine_tuning/jobs/ftjob-1") == 0)
		return lives[server.n_polls < 2 ? server.n_polls++ : 2];
	if (strcmp(path, "/v1/fine_tuning/jobs/ftjob-2") == 0)
		return "{\"id\":\"ftjob-2\",\"status\":\"failed\",\"error\":{\"message\":\"row 3 is bad\"}}";
	if (strcmp(path, "/v1/fine_tuning/jobs/ftjob-2/events") == 0)
		return "{\"data\":[]}";
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
		if (strcmp(path, answers[i].path) == 0) {
			*status = answers[i].status;
			return answers[i].text;
		}
	*status = 404;
	return "{\"error\":{\"message\":\"no such thing\"}}";
}

static void keep(struct MHD_Connection *connection, const char *header, char *to, size_t size)
{
	const char *value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, header);

	snprintf(to, size, "%s", value ? value : "");
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path,
        const char *method, const char *version, const char *data, size_t *n, void **state)
{
	struct MHD_Response *response;
	enum MHD_Result queued;
	unsigned status;
	const char *text;

	(void)arg;
	(void)version;
	if (!*state) {
		*state = &server;
		buf_fini(&server.body);
		server.body = (struct buf){0};
		return MHD_YES;
	}
	if (*n) {
		(void)buf_append(&server.body, data, *n);
		*n = 0;
		return MHD_YES;
	}
	snprintf(server.method, sizeof(server.method), "%s", method);
	snprintf(server.path, sizeof(server.path), "%s", path);
	keep(connection, "Authorization", server.authorization, sizeof(server.authorization));
	keep(connection, "Content-Type", server.content_type, sizeof(server.content_type));
	text = find_answer(path, &status);
	response =
	        MHD_create_response_from_buffer(strlen(text), (void *)(size_t)text, MHD_RESPMEM_PERSISTENT);
	queued = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return queued;
}

static int set_up(void **state)
{
	struct client *c = NULL;
	const union MHD_DaemonInfo *info;

	server.http = MHD_start_daemon(
	        MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, NULL, MHD_OPTION_END);
	info = server.http ? MHD_get_daemon_info(server.http, MHD_DAEMON_INFO_BIND_PORT) : NULL;
	if (!info)
		return -1;
	snprintf(server.url, sizeof(server.url), "http://127.0.0.1:%u/v1/", info->port);
	server.n_polls = 0;
	if (client_new(server.url, "secret", &c, NULL))
		return -1;
	*state = c;
	return 0;
}

static int tear_down(void **state)
{
	client_free(*state);
	MHD_stop_daemon(server.http);
	buf_fini(&server.body);
	server.body = (struct buf){0};
	return 0;
}

static void test_request_carries_key_and_body_and_brings_json(void **state)
{
	json_t *body = json_pack("{s:i}", "a", 1), *reply = NULL;

	assert_int_equal(client_request(*state, "POST", "/v1/models", body, &reply, NULL), OK);
	assert_int_equal(json_array_size(json_object_get(reply, "data")), 2);
	assert_string_equal(server.method, "POST");
	assert_string_equal(server.path, "/v1/models");
	assert_string_equal(server.authorization, "Bearer secret");
	assert_string_equal(server.content_type, "application/json");
	assert_string_equal(server.body.data, "{\"a\":1}");
	json_decref(reply);
	json_decref(body);
}

static void test_one_client_changes_method_and_key_between_requests(void **state)
{
	assert_int_equal(client_request(*state, "POST", "/v1/models", NULL, NULL, NULL), OK);
	assert_int_equal(server.body.len, 0);
	assert_int_equal(client_set_key(*state, "other"), OK);
	assert_int_equal(client_request(*state, "DELETE", "/v1/models", NULL, NULL, NULL), OK);
	assert_string_equal(server.method, "DELETE");
	assert_string_equal(server.authorization, "Bearer other");
	assert_int_equal(client_request(*state, "GET", "/v1/models", NULL, NULL, NULL), OK);
	assert_string_equal(server.method, "GET");
}

static void expect_refused(struct client *c, const char *path, enum err expected, const char *message)
{
	struct why why = {0};
	json_t *reply = NULL;

	assert_int_equal(client_request(c, "GET", path, NULL, &reply, &why), expected);
	assert_string_equal(why.message, message);
	assert_false(args_is_wrong(expected, &why));
	assert_null(reply);
}

static void test_refusals_keep_the_words_of_the_server(void **state)
{
	expect_refused(*state, "/refuse", ERR_INVALID, "must be a number (seed)");
	expect_refused(*state, "/refuse-twice", ERR_INVALID, "seed must be a number");
	expect_refused(*state, "/key", ERR_AUTH, "wrong key");
	expect_refused(*state, "/nowhere", ERR_NOT_FOUND, "no such thing");
	expect_refused(*state, "/busy", ERR_BUSY, "the server answered with HTTP status 503");
}

static void test_answer_that_is_not_json_is_an_error(void **state)
{
	struct why why = {0};
	json_t *reply = NULL;
	char *text = NULL;

	assert_int_equal(client_request(*state, "GET", "/text", NULL, &reply, &why), ERR_FORMAT);
	assert_non_null(strstr(why.message, "not JSON"));
	assert_int_equal(client_get_text(*state, "/text", &text, NULL), OK);
	assert_string_equal(text, "hello");
	mem_free(text);
}

static void test_nobody_there_is_told_from_a_refusal(void **state)
{
	struct client *c = NULL;
	struct why why = {0};

	(void)state;
	MHD_stop_daemon(server.http);
	assert_int_equal(client_new(server.url, NULL, &c, NULL), OK);
	assert_int_equal(client_request(c, "GET", "/v1/models", NULL, NULL, &why), ERR_IO);
	assert_non_null(strstr(why.message, "127.0.0.1"));
	client_free(c);
	server.http = NULL;
	assert_true(args_is_wrong(client_new("localhost:80", NULL, &c, &why), &why));
}

static bool add_n(void *arg, const json_t *event)
{
	*(int *)arg = *(int *)arg * 10 + (int)json_integer_value(json_object_get(event, "n"));
	return true;
}

static void test_stream_ends_well_only_with_its_mark(void **state)
{
	struct why why = {0};
	int seen = 0;

	assert_int_equal(client_stream(*state, "POST", "/stream", NULL, add_n, &seen, &why), OK);
	assert_int_equal(seen, 12);
	assert_int_equal(client_stream(*state, "POST", "/cut", NULL, add_n, &seen, &why), ERR_FORMAT);
	assert_int_equal(seen, 121);
	assert_int_equal(client_stream(*state, "POST", "/broken", NULL, add_n, &seen, &why), ERR_INVALID);
	assert_string_equal(why.message, "engine stopped");
	assert_int_equal(client_stream(*state, "POST", "/key", NULL, add_n, &seen, &why), ERR_AUTH);
	assert_int_equal(seen, 1211);
}

static void test_upload_sends_name_purpose_and_content(void **state)
{
	static const struct client_field form[] = {{"purpose", "fine-tune", false}, {NULL, NULL, false}};
	char path[] = "/tmp/redd-upload-XXXXXX";
	int fd = mkstemp(path);
	json_t *reply = NULL;
	struct why why = {0};

	assert_int_equal(write(fd, "{\"text\":1}\n", 11), 11);
	close(fd);
	assert_int_equal(client_upload(*state, "/v1/files", path, form, &reply, NULL), OK);
	assert_string_equal(json_string_value(json_object_get(reply, "id")), "file-1");
	assert_memory_equal(server.content_type, "multipart/form-data; boundary=", 30);
	assert_non_null(strstr(server.body.data, "name=\"purpose\""));
	assert_non_null(strstr(server.body.data, "fine-tune\r\n"));
	assert_non_null(strstr(server.body.data, path + 5)); /* the name without its directory */
	assert_null(strstr(server.body.data, "/tmp/"));
	assert_non_null(strstr(server.body.data, "\r\n\r\n{\"text\":1}\n\r\n--"));
	json_decref(reply);
	unlink(path);
	assert_int_equal(client_upload(*state, "/v1/files", path, form, &reply, &why), ERR_NOT_FOUND);
	assert_non_null(strstr(why.message, path));
}

static void test_download_writes_what_comes_and_keeps_refusals_apart(void **state)
{
	struct why why = {0};
	char *text = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);

	assert_int_equal(client_download(*state, "/text", to, NULL), OK);
	assert_string_equal(text, "hello");
	assert_int_equal(client_download(*state, "/key", to, &why), ERR_AUTH);
	assert_string_equal(why.message, "wrong key");
	fclose(to);
	assert_string_equal(text, "hello");
	free(text);
	to = fopen("/dev/full", "w");
	assert_int_equal(client_download(*state, "/text", to, &why), ERR_INVALID);
	fclose(to);
}

static void test_base_model_is_the_one_that_is_not_fine_tuned(void **state)
{
	struct ctl ctl = {.client = *state};
	char *id = NULL;

	assert_int_equal(command_base_model(&ctl, &id, NULL), OK);
	assert_string_equal(id, "base");
	mem_free(id);
}

static void test_watch_tells_a_job_from_queue_to_adapter(void **state)
{
	struct ctl ctl = {.client = *state};
	const struct watch_job job = {.id = "ftjob-1", .label = ""};
	json_t *last = NULL;
	char *text = NULL;
	size_t size = 0;

	ctl.err.file = open_memstream(&text, &size);
	assert_int_equal(watch_jobs(&ctl, &job, 1, &last, NULL), OK);
	fclose(ctl.err.file);
	assert_string_equal(json_string_value(json_object_get(last, "fine_tuned_model")), "ft:x");
	assert_string_equal(text,
	        "row 7 is cut\n"
	        "loss 2.5000  queued, 2 before it\n"
	        "####################--------------------  50% 4/8  loss 2.5000  900 tok/s  ETA -\n"
	        "######################################## 100% 8/8  loss 2.5000  succeeded\n");
	free(text);
	json_decref(last);
}

static void test_watch_of_a_failed_job_fails_with_its_reason(void **state)
{
	struct ctl ctl = {.client = *state, .quiet = true};
	const struct watch_job jobs[] = {
	        {.id = "ftjob-1", .label = "a", .key = "k1"}, {.id = "ftjob-2", .label = "b", .key = "k2"}};
	json_t *last[2] = {NULL, NULL};
	struct why why = {0};

	assert_int_equal(watch_jobs(&ctl, jobs, 2, last, &why), ERR_STATE);
	assert_string_equal(why.message, "job ftjob-2 failed: row 3 is bad");
	assert_string_equal(json_string_value(json_object_get(last[0], "status")), "succeeded");
	assert_string_equal(server.authorization, "Bearer k1"); /* the last one still running */
	json_decref(last[0]);
	json_decref(last[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_request_carries_key_and_body_and_brings_json),
	        TEST(test_one_client_changes_method_and_key_between_requests),
	        TEST(test_refusals_keep_the_words_of_the_server),
	        TEST(test_answer_that_is_not_json_is_an_error),
	        TEST(test_nobody_there_is_told_from_a_refusal),
	        TEST(test_stream_ends_well_only_with_its_mark),
	        TEST(test_upload_sends_name_purpose_and_content),
	        TEST(test_download_writes_what_comes_and_keeps_refusals_apart),
	        TEST(test_base_model_is_the_one_that_is_not_fine_tuned),
	        TEST(test_watch_tells_a_job_from_queue_to_adapter),
	        TEST(test_watch_of_a_failed_job_fails_with_its_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
