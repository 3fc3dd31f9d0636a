/* What an operator or a script asks: health, metrics, and any route of the API as it is. */
#include "core/buf.h"
#include "core/mem.h"
#include "daemon/ctl/command.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BODY_BYTES (16u << 20)

static const struct args_option whoami_options[] = {
        {"admin", 0, NULL, "Speak with the admin key."},
        {NULL, 0, NULL, NULL},
};

static const struct args_option api_options[] = {
        {"admin", 0, NULL, "Speak with the admin key."},
        {"output", 'o', "FILE", "Write what a GET brings to FILE (default: standard output)."},
        {NULL, 0, NULL, NULL},
};

static enum err run_health(struct ctl *ctl, struct why *why)
{
	static const char *const paths[] = {"/healthz", "/readyz"};
	static const char *const names[] = {"healthy", "ready"};
	json_t *report = json_object();
	char *text = NULL;
	enum err e = report ? OK : ERR_MEM;

	for (size_t i = 0; i < 2 && !e; i++) {
		e = client_get_text(ctl->client, paths[i], &text, why);
		if (!ctl->json && !ctl->quiet && e != ERR_IO)
			printf("%-8s %s%s%s\n", names[i], term_colour(&ctl->out, e ? TERM_RED : TERM_GREEN),
			        e ? "no" : "yes", term_colour(&ctl->out, TERM_PLAIN));
		(void)json_object_set_new(report, names[i], json_boolean(!e));
		mem_free(text);
		text = NULL;
	}
	if (ctl->json && e != ERR_IO)
		command_print_json(report);
	json_decref(report);
	return e;
}

static void print_session(struct ctl *ctl, const json_t *session)
{
	const json_t *tenant = json_object_get(session, "tenant");

	command_print_field(ctl, "tenant", command_string(tenant, "name"));
	command_print_field(ctl, "id", command_string(tenant, "id"));
	command_print_field(ctl, "admin", json_is_true(json_object_get(session, "admin")) ? "yes" : "");
	command_print_field(ctl, "version", command_string(session, "version"));
	command_print_members(ctl, "base", json_object_get(session, "base"));
}

static enum err run_whoami(struct ctl *ctl, struct why *why)
{
	return command_show(ctl, "/v1/session", print_session, why);
}

static enum err run_metrics(struct ctl *ctl, struct why *why)
{
	return command_save(ctl, "/metrics", false, why);
}

static enum err run_backup(struct ctl *ctl, struct why *why)
{
	return command_save_as(ctl, "/v1/admin/backup", ctl->args.operands[0], why);
}

/* ---- any route ---- */

/* The body: JSON, "@FILE", or "-" for standard input. */
static enum err read_body(const char *word, json_t **out, struct why *why)
{
	json_error_t error;
	json_t *body;

	if (strcmp(word, "-") == 0)
		body = json_loadf(stdin, 0, &error);
	else if (*word == '@')
		body = json_load_file(word + 1, 0, &error);
	else
		body = json_loads(word, 0, &error);
	if (!body)
		return args_wrong(why, "the body is not JSON: %s", error.text);
	*out = body;
	return OK;
}

static enum err run_api(struct ctl *ctl, struct why *why)
{
	const char *method = ctl->args.operands[0], *path = ctl->args.operands[1];
	json_t *body = NULL, *reply = NULL;
	char *full = NULL;
	enum err e = OK;

	for (const char *p = method; *p; p++)
		if (!isupper((unsigned char)*p))
			return args_wrong(why, "\"%s\" is not a method such as GET or POST", method);
	full = mem_printf("%s%s", *path == '/' ? "" : "/v1/", path);
	if (!full)
		e = ERR_MEM;
	if (!e && ctl->args.n_operands > 2)
		e = read_body(ctl->args.operands[2], &body, why);
	if (!e && strcmp(method, "GET") == 0 && !body) {
		e = command_save(ctl, full, false, why);
	} else if (!e) {
		e = client_request(ctl->client, method, full, body, &reply, why);
		if (!e)
			command_print_json(reply);
	}
	json_decref(body);
	json_decref(reply);
	mem_free(full);
	return e;
}

const struct command operation_commands[] = {
        {"health", "", "Say whether the daemon lives and is ready", NULL, NULL, 0, 0, false, run_health},
        {"whoami", "", "Say whose key this is, and what the daemon serves", NULL, whoami_options, 0, 0, false,
                run_whoami},
        {"metrics", "", "Print the daemon's metrics, in Prometheus' format", NULL, output_options, 0, 0,
                false, run_metrics},
        {"backup", "FILE", "Copy the daemon's whole state into a file, while it runs",
                "The state as it is at one moment, without the admin key; FILE is - for standard output.\n"
                "redd --restore FILE makes a state directory of it. It holds all tenants' data: keep it "
                "safe.",
                NULL, 1, 1, true, run_backup},
        {"api", "METHOD PATH [BODY]", "Send any request of the API and print what it answers",
                "A PATH without a slash at its start is under /v1. BODY is JSON, @FILE, or - for standard\n"
                "input.",
                api_options, 2, 3, false, run_api},
        {0},
};
