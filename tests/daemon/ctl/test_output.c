/* ctl/bar, ctl/table, ctl/term, ctl/sse, ctl/help: what people see and what streams bring. */
#include "daemon/ctl/bar.h"
#include "daemon/ctl/command.h"
#include "daemon/ctl/help.h"
#include "daemon/ctl/sse.h"
#include "daemon/ctl/table.h"
#include "daemon/ctl/term.h"

#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct bar_style plain = {.width = 100, .fill = "", .rest = "", .end = ""};

static void test_bar_shows_step_loss_speed_and_time_left(void **state)
{
	const struct bar b = {.label = "",
	        .status = "running",
	        .step = 25,
	        .total_steps = 100,
	        .has_loss = true,
	        .loss = 1.53214,
	        .tokens_per_second = 12345,
	        .eta_s = 42.4,
	        .queue_position = -1};
	char line[BAR_LINE_SIZE];

	(void)state;
	bar_format(&b, &plain, line);
	assert_string_equal(line,
	        "##########------------------------------  25% 25/100  loss 1.5321  12.3k tok/s  ETA 0:42");
}

static void test_bar_is_full_at_the_end_and_says_how_it_ended(void **state)
{
	const struct bar b = {.label = "a",
	        .status = "succeeded",
	        .step = 8,
	        .total_steps = 8,
	        .has_valid_loss = true,
	        .valid_loss = 1.5,
	        .eta_s = 0,
	        .queue_position = -1};
	const struct bar_style style = {.width = 60, .label_width = 3, .fill = "<", .rest = "|", .end = ">"};
	char line[BAR_LINE_SIZE];

	(void)state;
	bar_format(&b, &style, line);
	assert_string_equal(line, "a   <######################|> 100% 8/8  valid 1.5000  succeeded");
}

static void test_bar_fits_any_width(void **state)
{
	struct bar b = {.label = "läbel",
	        .status = "running",
	        .step = 123456,
	        .total_steps = 1000000,
	        .has_loss = true,
	        .loss = 2,
	        .tokens_per_second = 5e6,
	        .eta_s = 1e6,
	        .queue_position = -1};
	char line[BAR_LINE_SIZE];

	(void)state;
	for (size_t width = 0; width < 300; width++) {
		const struct bar_style style = {.width = width,
		        .label_width = 9,
		        .unicode = width % 2,
		        .fill = "",
		        .rest = "",
		        .end = ""};

		bar_format(&b, &style, line);
		assert_true(term_columns(line, strlen(line)) <= width);
	}
	b.step = 2000000; /* more than there are */
	bar_format(&b, &plain, line);
	assert_true(term_columns(line, strlen(line)) <= 100);
}

static void test_bar_of_a_waiting_job_says_its_place(void **state)
{
	struct bar b = {.label = "", .status = "queued", .eta_s = -1, .queue_position = 3};
	char line[BAR_LINE_SIZE];

	(void)state;
	bar_format(&b, &plain, line);
	assert_string_equal(line, "queued, 3 before it");
	b.eta_s = 90;
	bar_format(&b, &plain, line);
	assert_string_equal(line, "queued, 3 before it  ETA 1:30");
	b.eta_s = -1;
	b.queue_position = -1;
	b.status = "running";
	bar_format(&b, &plain, line);
	assert_string_equal(line, "running");
	b.total_steps = 9;
	bar_format(&b, &plain, line);
	assert_string_equal(line, "----------------------------------------   0% 0/9  ETA -");
}

static void test_durations_and_rates_are_short(void **state)
{
	static const struct {
		double value;
		const char *duration, *rate;
	} cases[] = {{0, "0:00", "0"}, {59.6, "1:00", "60"}, {3599, "59:59", "3.6k"},
	        {11220, "3:07:00", "11.2k"}, {999.6, "16:40", "1.0k"}, {-1, "-", "-1"},
	        {1500000, "416:40:00", "1.5M"}};
	char text[24];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bar_duration(cases[i].value, text);
		assert_string_equal(text, cases[i].duration);
		bar_rate(cases[i].value, text);
		assert_string_equal(text, cases[i].rate);
	}
}

/* What print() writes to a file that is no terminal; the caller frees it. */
static char *printed_table(const struct table *t)
{
	char *text = NULL;
	size_t size = 0;
	struct term to = {.file = open_memstream(&text, &size)};

	table_print(t, &to);
	assert_int_equal(fclose(to.file), 0);
	return text;
}

static void test_table_aligns_columns_by_character(void **state)
{
	struct table t = {.n_columns = 2};
	const char *rows[][2] = {{"ID", "NAME"}, {"größe", "x"}, {"b", "a longer one"}};
	char *text;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(table_row(&t, rows[i]), OK);
	text = printed_table(&t);
	assert_string_equal(text, "ID     NAME\ngröße  x\nb      a longer one\n");
	free(text);
	table_fini(&t);
}

static void test_table_is_unmodified_when_memory_is_short(void **state)
{
	struct table t = {.n_columns = 2};
	const char *row[] = {"a", "b"};

	(void)state;
	assert_int_equal(table_row(&t, row), OK);
	for (long n = 1; n <= 3; n++) {
		mem_fail_at(n);
		assert_int_equal(table_row(&t, row), ERR_MEM);
		assert_true(mem_failed());
		assert_int_equal(t.n_rows, 1);
	}
	mem_fail_at(0);
	assert_int_equal(table_row(&t, row), OK);
	table_fini(&t);
}

static void test_control_sequences_do_not_reach_a_terminal(void **state)
{
	const char *text = "a\033[2Jb\rc\tsch\xc3\xb6n\n\xc2\x9b"
	                   "31m\x7f";
	char *got = NULL;
	size_t size = 0;
	struct term to = {.terminal = true};

	(void)state;
	to.file = open_memstream(&got, &size);
	term_print(&to, text);
	fclose(to.file);
	assert_string_equal(got, "a?[2Jb?c\tsch\xc3\xb6n\n?31m?");
	free(got);
	to.terminal = false;
	to.file = open_memstream(&got, &size);
	term_print(&to, text);
	fclose(to.file);
	assert_string_equal(got, text);
	free(got);
}

static void test_colours_need_a_terminal_that_wants_them(void **state)
{
	struct term t;
	FILE *null = fopen("/dev/null", "w");

	(void)state;
	term_init(&t, null);
	assert_false(t.terminal);
	assert_string_equal(term_colour(&t, TERM_RED), "");
	t.terminal = t.colour = true;
	assert_string_equal(term_colour(&t, TERM_RED), "\033[31m");
	fclose(null);
}

/* ---- server-sent events ---- */

static char heard[256];

static bool note(void *arg, const char *data)
{
	size_t n = strlen(heard);

	snprintf(heard + n, sizeof(heard) - n, "<%s>", data);
	return !(arg && strcmp(data, arg) == 0);
}

static void test_events_are_the_same_however_the_stream_is_cut(void **state)
{
	static const char stream[] = ": ping\n\nid: 4\nevent: x\ndata: one\n\ndata:two\r\ndata: three\r\n\r\n"
	                             "retry: 5\n\ndata:\n\ndata: not ended";

	(void)state;
	for (size_t piece = 1; piece <= sizeof(stream); piece++) {
		struct sse s = {.has_data = false};

		heard[0] = '\0';
		for (size_t i = 0; i < sizeof(stream) - 1; i += piece) {
			size_t n = sizeof(stream) - 1 - i < piece ? sizeof(stream) - 1 - i : piece;

			assert_int_equal(sse_feed(&s, stream + i, n, note, NULL), OK);
		}
		assert_string_equal(heard, "<one><two\nthree><>");
		sse_fini(&s);
	}
}

static void test_stream_stops_when_its_listener_says_so(void **state)
{
	struct sse s = {.has_data = false};

	(void)state;
	heard[0] = '\0';
	assert_int_equal(sse_feed(&s, "data: a\n\ndata: b\n\n", 18, note, (char *)"a"), OK);
	assert_string_equal(heard, "<a>");
	assert_true(s.stopped);
	sse_fini(&s);
}

static void test_event_without_end_is_cut_off(void **state)
{
	struct sse s = {.has_data = false};
	static char block[1 << 20];
	enum err e = OK;
	size_t n = 0;

	(void)state;
	memset(block, 'x', sizeof(block));
	for (; !e && n < 64; n++)
		e = sse_feed(&s, block, sizeof(block), note, NULL);
	assert_int_equal(e, ERR_TOO_LARGE);
	assert_int_equal(n, SSE_MAX_BYTES / sizeof(block) + 1);
	sse_fini(&s);
}

/* ---- commands ---- */

static void test_commands_of_one_and_two_words_are_found(void **state)
{
	char *jobs[] = {(char *)"jobs", (char *)"x"},
	     *tenant[] = {(char *)"tenant", (char *)"add", (char *)"bob"};
	size_t n = 0;

	(void)state;
	assert_string_equal(help_find(jobs, 2, &n)->name, "jobs");
	assert_int_equal(n, 1);
	assert_string_equal(help_find(tenant, 3, &n)->name, "tenant add");
	assert_int_equal(n, 2);
	assert_null(help_find(tenant, 1, &n));
	assert_null(help_find(jobs + 1, 1, &n));
	assert_null(help_find(jobs, 0, &n));
}

static void test_ids_are_escaped_in_paths(void **state)
{
	char path[64];
	struct why why = {0};

	(void)state;
	assert_int_equal(command_path(path, sizeof(path), "/v1/models/", "ft:a/b c", "/x", &why), OK);
	assert_string_equal(path, "/v1/models/ft:a%2Fb%20c/x");
	assert_int_equal(command_path(path, 16, "/v1/models/", "ft:abcdefgh", "", &why), ERR_INVALID);
	assert_int_equal(command_path(path, sizeof(path), "/v1/models/", "", "", &why), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_bar_shows_step_loss_speed_and_time_left),
	        cmocka_unit_test(test_bar_is_full_at_the_end_and_says_how_it_ended),
	        cmocka_unit_test(test_bar_fits_any_width),
	        cmocka_unit_test(test_bar_of_a_waiting_job_says_its_place),
	        cmocka_unit_test(test_durations_and_rates_are_short),
	        cmocka_unit_test(test_table_aligns_columns_by_character),
	        cmocka_unit_test(test_table_is_unmodified_when_memory_is_short),
	        cmocka_unit_test(test_control_sequences_do_not_reach_a_terminal),
	        cmocka_unit_test(test_colours_need_a_terminal_that_wants_them),
	        cmocka_unit_test(test_events_are_the_same_however_the_stream_is_cut),
	        cmocka_unit_test(test_stream_stops_when_its_listener_says_so),
	        cmocka_unit_test(test_event_without_end_is_cut_off),
	        cmocka_unit_test(test_commands_of_one_and_two_words_are_found),
	        cmocka_unit_test(test_ids_are_escaped_in_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
