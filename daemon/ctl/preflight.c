/* Preflight: what the daemon would say of a job's data and settings, without queueing anything. */
#include "daemon/ctl/bar.h"
#include "daemon/ctl/submit.h"

static void print_lines(struct ctl *ctl, const char *what, const json_t *lines, int64_t n)
{
	const json_t *line;
	size_t i;

	if (!n)
		return;
	fprintf(ctl->out.file, "  %lld %s:", (long long)n, what);
	json_array_foreach (lines, i, line)
		fprintf(ctl->out.file, " %lld", (long long)json_integer_value(line));
	fputs((int64_t)json_array_size(lines) < n ? " ...\n" : "\n", ctl->out.file);
}

static void print_report(struct ctl *ctl, const char *name, const json_t *report)
{
	int64_t n_faults = command_integer(report, "n_faults");
	const json_t *faults = json_object_get(report, "faults"), *fault;
	size_t i;

	if (!json_is_object(report))
		return;
	fprintf(ctl->out.file, "%s: %s%lld bad lines%s\n", name,
	        term_colour(&ctl->out, n_faults ? TERM_RED : TERM_GREEN), (long long)n_faults,
	        term_colour(&ctl->out, TERM_PLAIN));
	json_array_foreach (faults, i, fault) {
		fprintf(ctl->out.file, "  line %lld: ", (long long)command_integer(fault, "line"));
		term_print(&ctl->out, command_string(fault, "reason"));
		fputc('\n', ctl->out.file);
	}
	if ((int64_t)json_array_size(faults) < n_faults)
		fputs("  ...\n", ctl->out.file);
	print_lines(ctl, "rows are cut to the context, lines", json_object_get(report, "truncated_lines"),
	        command_integer(report, "n_truncated"));
	print_lines(ctl, "rows leave nothing to learn, lines", json_object_get(report, "lines_without_loss"),
	        command_integer(report, "n_without_loss"));
}

static void print_preflight(struct ctl *ctl, const json_t *reply)
{
	static const char *const counts[][2] = {{"rows", "rows"}, {"tokens", "tokens"},
	        {"trained tokens", "trained_tokens"}, {"steps", "steps"}};
	double seconds = command_real(reply, "estimated_seconds");
	char text[32];

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		snprintf(text, sizeof(text), "%lld", (long long)command_integer(reply, counts[i][1]));
		command_print_field(ctl, counts[i][0], text);
	}
	bar_duration(seconds, text);
	command_print_field(ctl, "time", seconds > 0 ? text : "");
	command_print_members(ctl, "hyperparameter", json_object_get(reply, "hyperparameters"));
	print_report(ctl, "training file", json_object_get(reply, "training_file"));
	print_report(ctl, "validation file", json_object_get(reply, "validation_file"));
}

static enum err run_preflight(struct ctl *ctl, struct why *why)
{
	json_t *body = NULL, *reply = NULL;
	enum err e = submit_prepare(ctl, &body, why);

	if (!e)
		e = client_request(ctl->client, "POST", "/v1/fine_tuning/jobs/preflight", body, &reply, why);
	if (!e && ctl->json)
		command_print_json(reply);
	else if (!e)
		print_preflight(ctl, reply);
	if (!e && !json_is_true(json_object_get(reply, "valid")))
		e = why_set(why, ERR_INVALID, "the job would be refused: %s",
		        command_string(json_object_get(reply, "error"), "message"));
	json_decref(body);
	json_decref(reply);
	return e;
}

const struct command preflight_commands[] = {
        {"preflight", "DATA.jsonl", "Check data and settings as submit would, and start nothing",
                "Prints rows, tokens, steps, the time it would take, and every bad line with its reason.\n"
                "Exit status 1 when the job would be refused. The file stays uploaded.",
                preflight_options, 1, 1, false, run_preflight},
        {0},
};
