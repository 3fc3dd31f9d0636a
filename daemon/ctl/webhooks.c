/* Webhooks: who is told when a tenant's job ends. */
#include "daemon/ctl/command.h"
#include "daemon/ctl/table.h"

#include <string.h>

#define WEBHOOKS "/v1/webhook_endpoints"

static const struct args_option add_options[] = {
        {"event", 0, "TYPE",
                "Tell of these only: succeeded, failed or cancelled; may be repeated\n"
                "(default: all three)."},
        {NULL, 0, NULL, NULL},
};

static const struct args_option change_options[] = {
        {"name", 0, "TEXT", "A new name."},
        {"address", 0, "URL", "A new address."},
        {"event", 0, "TYPE", "Tell of these only: succeeded, failed or cancelled; may be repeated."},
        {NULL, 0, NULL, NULL},
};

static const struct args_option test_options[] = {
        {"event", 0, "TYPE", "An event of this type: succeeded, failed or cancelled."},
        {NULL, 0, NULL, NULL},
};

static const struct args_option rotate_options[] = {
        {"keep-old", 0, NULL, "Sign with the old secret too, for a day."},
        {NULL, 0, NULL, NULL},
};

/* ---- showing ---- */

/* "succeeded failed" of the full names. */
static void events_text(const json_t *webhook, char text[128])
{
	const json_t *type;
	size_t i;

	text[0] = '\0';
	json_array_foreach (json_object_get(webhook, "event_types"), i, type) {
		const char *name = json_string_value(type), *dot = name ? strrchr(name, '.') : NULL;
		size_t n = strlen(text);

		snprintf(text + n, 128 - n, "%s%s", n ? " " : "", dot ? dot + 1 : name ? name : "");
	}
}

static void print_webhooks(struct ctl *ctl, const json_t *reply)
{
	struct table t = {.n_columns = 4};
	const char *heading[] = {"WEBHOOK", "NAME", "EVENTS", "ADDRESS"};
	const json_t *webhook;
	enum err e = table_row(&t, heading);
	size_t i;

	json_array_foreach (json_object_get(reply, "data"), i, webhook) {
		char events[128];
		const char *cells[] = {command_string(webhook, "id"), command_string(webhook, "name"), events,
		        command_string(webhook, "url")};

		events_text(webhook, events);
		if (!e)
			e = table_row(&t, cells);
	}
	table_print(&t, &ctl->out);
	table_fini(&t);
	command_print_more(ctl, reply);
}

/* "2026-11-25 19:30, answered 500: it did not answer with 2xx". */
static void print_last(struct ctl *ctl, const json_t *last)
{
	int64_t status = command_integer(last, "status");
	const char *error = command_string(last, "error");
	char when[20], answered[24] = "", text[160];

	if (!json_is_object(last))
		return;
	command_time(command_integer(last, "created_at"), when);
	if (status)
		snprintf(answered, sizeof(answered), ", answered %d", (int)status);
	snprintf(text, sizeof(text), "%s%s%s%s", when, answered, *error ? ": " : "", error);
	command_print_field(ctl, "last event", text);
}

static void print_webhook(struct ctl *ctl, const json_t *webhook)
{
	char text[128];

	command_print_field(ctl, "webhook", command_string(webhook, "id"));
	command_print_field(ctl, "name", command_string(webhook, "name"));
	command_print_field(ctl, "address", command_string(webhook, "url"));
	events_text(webhook, text);
	command_print_field(ctl, "events", text);
	command_print_field(ctl, "secret", command_string(webhook, "signing_secret_hint"));
	command_time(command_integer(webhook, "created_at"), text);
	command_print_field(ctl, "created", text);
	print_last(ctl, json_object_get(webhook, "last_delivery"));
}

static void print_event(struct ctl *ctl, const json_t *event)
{
	fprintf(ctl->out.file, "%s\n", command_string(event, "id"));
}

/* A new secret is the result; the rest, on request. */
static void print_secret(struct ctl *ctl, const json_t *webhook)
{
	fprintf(ctl->out.file, "%s\n", command_string(webhook, "signing_secret"));
	if (!ctl->quiet)
		fprintf(ctl->err.file, "webhook %s; its secret is shown only once\n",
		        command_string(webhook, "id"));
}

/* ---- asking ---- */

/* "failed" by its full name. */
static json_t *full_name(const char *event)
{
	return strchr(event, '.') ? json_string(event) : json_sprintf("fine_tuning.job.%s", event);
}

/* Every --event by its full name into body; all of them when there is none and all is said. */
static enum err set_events(const struct args *a, json_t *body, bool all)
{
	static const char *const every[] = {"succeeded", "failed", "cancelled"};
	json_t *list = json_array();
	const char *event;
	enum err e = list ? OK : ERR_MEM;

	for (size_t i = 0; !e && (event = args_nth(a, "event", i)); i++)
		if (json_array_append_new(list, full_name(event)) < 0)
			e = ERR_MEM;
	for (size_t i = 0; !e && all && !args_text(a, "event") && i < 3; i++)
		if (json_array_append_new(list, full_name(every[i])) < 0)
			e = ERR_MEM;
	if (!e && json_array_size(list) && json_object_set(body, "event_types", list) < 0)
		e = ERR_MEM;
	json_decref(list);
	return e;
}

/* POST body (released) to the webhook's path, or to that of all without an id. */
static enum err post(struct ctl *ctl, const char *id, const char *suffix, json_t *body,
        void (*print)(struct ctl *ctl, const json_t *reply), struct why *why)
{
	char path[1024] = WEBHOOKS;
	enum err e = id ? command_path(path, sizeof(path), WEBHOOKS "/", id, suffix, why) : OK;

	if (!e)
		return command_send(ctl, "POST", path, body, print, why);
	json_decref(body);
	return e;
}

static enum err run_webhooks(struct ctl *ctl, struct why *why)
{
	char path[1024];
	enum err e = command_list_path(ctl, WEBHOOKS, path, sizeof(path), why);

	return e ? e : command_show(ctl, path, print_webhooks, why);
}

static enum err run_show(struct ctl *ctl, struct why *why)
{
	char path[1024];
	enum err e = command_path(path, sizeof(path), WEBHOOKS "/", ctl->args.operands[0], "", why);

	return e ? e : command_show(ctl, path, print_webhook, why);
}

static enum err run_add(struct ctl *ctl, struct why *why)
{
	json_t *body = json_pack("{s:s, s:s}", "name", ctl->args.operands[0], "url", ctl->args.operands[1]);
	enum err e = body ? set_events(&ctl->args, body, true) : args_wrong(why, "the name is not UTF-8");

	if (!e)
		return post(ctl, NULL, "", body, print_secret, why);
	json_decref(body);
	return e;
}

static enum err run_change(struct ctl *ctl, struct why *why)
{
	json_t *body = json_pack("{s:s*, s:s*}", "name", args_text(&ctl->args, "name"), "url",
	        args_text(&ctl->args, "address"));
	enum err e = body ? set_events(&ctl->args, body, false) : args_wrong(why, "the name is not UTF-8");

	if (!e && !json_object_size(body))
		e = args_wrong(why, "nothing is to be changed: see --name, --address and --event");
	if (!e)
		return post(ctl, ctl->args.operands[0], "", body, print_webhook, why);
	json_decref(body);
	return e;
}

static enum err run_rotate(struct ctl *ctl, struct why *why)
{
	json_t *body =
	        json_pack("{s:b}", "keep_old_secret_active_for_24_hours", args_flag(&ctl->args, "keep-old"));

	return body ? post(ctl, ctl->args.operands[0], "/rotate_secret", body, print_secret, why) : ERR_MEM;
}

static enum err run_test(struct ctl *ctl, struct why *why)
{
	const char *event = args_text(&ctl->args, "event");
	json_t *body = json_object();

	if (event)
		(void)json_object_set_new(body, "event_type", full_name(event));
	return body ? post(ctl, ctl->args.operands[0], "/test", body, print_event, why) : ERR_MEM;
}

static enum err run_delete(struct ctl *ctl, struct why *why)
{
	return command_delete(ctl, WEBHOOKS "/", ctl->args.operands[0], why);
}

const struct command webhook_commands[] = {
        {"webhooks", "", "List webhooks: who is told when a job ends", NULL, list_options, 0, 0, false,
                run_webhooks},
        {"webhook add", "NAME URL", "Have an address told of jobs that end, and print its secret",
                "Messages are signed with the secret, as OpenAI's clients check them; it is shown this once.",
                add_options, 2, 2, false, run_add},
        {"webhook show", "WEBHOOK", "Show one webhook", NULL, NULL, 1, 1, false, run_show},
        {"webhook change", "WEBHOOK", "Change a webhook's name, address or events", NULL, change_options, 1,
                1, false, run_change},
        {"webhook rotate", "WEBHOOK", "Give a webhook a new secret and print it", NULL, rotate_options, 1, 1,
                false, run_rotate},
        {"webhook test", "WEBHOOK", "Send a webhook a signed event that tells of nothing, and print its id",
                "It is tried once; how that went is what \"webhook show\" then says of the last event.",
                test_options, 1, 1, false, run_test},
        {"webhook delete", "WEBHOOK", "Delete a webhook and what is due to it", NULL, NULL, 1, 1, false,
                run_delete},
        {0},
};
