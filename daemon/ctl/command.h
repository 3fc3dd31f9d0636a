/*
 * What the commands of redctl share: the context they run in, the tables that describe them, and how they
 * end. Thread: main; redctl has no other.
 */
#ifndef REDD_CTL_COMMAND_H
#define REDD_CTL_COMMAND_H

#include "daemon/ctl/args.h"
#include "daemon/ctl/client.h"
#include "daemon/ctl/term.h"

#include <jansson.h>

/* Exit codes, part of the face of redctl. */
enum ctl_exit { CTL_OK = 0, CTL_FAILED = 1, CTL_USAGE = 2, CTL_UNREACHABLE = 3 };

struct ctl {
	struct args args;
	struct client *client;
	struct term out;  /* standard output: results */
	struct term err;  /* standard error: progress */
	bool json, quiet; /* --json, --quiet */
};

struct command {                           /* tables end with a NULL name */
	const char *name;                  /* one word, or two: "tenant add" */
	const char *operands;              /* as in "redctl NAME OPERANDS"; "" = none */
	const char *summary;               /* one line, for the list of commands */
	const char *details;               /* paragraphs for its own --help; may be NULL */
	const struct args_option *options; /* may be NULL */
	size_t min_operands, max_operands;
	bool admin; /* speaks with the admin key */
	/* Says itself what went wrong through *why, for any result but OK. */
	enum err (*run)(struct ctl *ctl, struct why *why);
};

extern const struct command submit_commands[], preflight_commands[], job_commands[], file_commands[],
        model_commands[], adapter_commands[], ask_commands[], text_commands[], webhook_commands[],
        tenant_commands[], operation_commands[], doctor_commands[];

/* Options of lists (limit, after) and of what is saved to a file (output). */
extern const struct args_option list_options[], output_options[];

/* Print reply as one JSON document (--json). */
void command_print_json(const json_t *reply);
/* GET path and print it with print(), or as JSON with --json. */
enum err command_show(struct ctl *ctl, const char *path, void (*print)(struct ctl *ctl, const json_t *reply),
        struct why *why);
/* The same for another method: body is sent (released in any case; NULL = none), and what was answered
 * printed with print() unless that is NULL. */
enum err command_send(struct ctl *ctl, const char *method, const char *path, json_t *body,
        void (*print)(struct ctl *ctl, const json_t *reply), struct why *why);
/* path with the command line's limit and after. */
enum err command_list_path(struct ctl *ctl, const char *prefix, char *path, size_t size, struct why *why);
/* Say behind a list that it goes on, and how. */
void command_print_more(const struct ctl *ctl, const json_t *reply);
/* DELETE prefix + id; what was answered is printed with --json only. */
enum err command_delete(struct ctl *ctl, const char *prefix, const char *id, struct why *why);
/* GET path into the file that --output names, whole or not at all; else to standard output, which must not
 * be a terminal when the content is binary. */
enum err command_save(struct ctl *ctl, const char *path, bool binary, struct why *why);
/* The same into the file of that name; "-" is standard output. */
enum err command_save_as(struct ctl *ctl, const char *path, const char *name, struct why *why);
/* "name value" on a line of its own; nothing when value is "". */
void command_print_field(struct ctl *ctl, const char *name, const char *value);
/* The same for every member of object, as "name key = value". */
void command_print_members(struct ctl *ctl, const char *name, const json_t *object);
/* Put every --set KEY=VALUE into object: VALUE is JSON, or else a text. */
enum err command_set_members(const struct args *a, json_t *object, struct why *why);

/* A member of object as text, "" when absent or null; borrowed. */
const char *command_string(const json_t *object, const char *key);
/* A member as integer or real number, 0 when it is none. */
int64_t command_integer(const json_t *object, const char *key);
double command_real(const json_t *object, const char *key);
/* "2026-03-01 14:05" of unix seconds in local time; "-" for 0. */
void command_time(int64_t seconds, char text[20]);
/* Append path with every byte that is special in a path segment escaped; ids hold ":" and such. */
enum err command_path(
        char *path, size_t size, const char *prefix, const char *id, const char *suffix, struct why *why);
/* The base model's id: the first model that is not a fine-tuned one. mem_free(*id). */
enum err command_base_model(struct ctl *ctl, char **id, struct why *why);

#endif
