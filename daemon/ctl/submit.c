/* See submit.h; and the command itself. */
#include "daemon/ctl/submit.h"

#include "core/mem.h"
#include "daemon/ctl/command.h"
#include "daemon/ctl/watch.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_LAYERS 4096

/* What says which job it is: submit and preflight share it, and submit goes on. */
#define JOB_OPTIONS                                                                                          \
	{"validation", 0, "FILE", "Rows to evaluate on: a local file, or the id of one uploaded before."},   \
	        {"model", 'm', "MODEL",                                                                      \
	                "What to train on: the base (the default), or an adapter to go on from."},           \
	        {"suffix", 0, "TEXT", "Part of the adapter's name."},                                        \
	        {"epochs", 0, "N", "Passes over the data, or auto."},                                        \
	        {"batch-size", 0, "N", "Rows per step, or auto."},                                           \
	        {"lr", 0, "RATE", "Learning rate. RED's are large: 0.001 to 0.06."},                         \
	        {"lr-multiplier", 0, "X", "Scales the automatic learning rate instead, or auto."},           \
	        {"scheduler", 0, "NAME", "linear, cosine or constant."},                                     \
	        {"warmup-ratio", 0, "X", "Share of the steps that warm up."},                                \
	        {"warmup-steps", 0, "N", "The same in steps."},                                              \
	        {"weight-decay", 0, "X", "Decoupled weight decay (default 0)."},                             \
	        {"weight-decay-towards", 0, "WHICH", "Decay towards zero or towards identity."},             \
	        {"beta1", 0, "X", "AdamW's, as the next two."},                                              \
	        {"beta2", 0, "X", "Decay of the second moment."}, {"eps", 0, "X", "Added to its root."},     \
	        {"max-grad-norm", 0, "X", "Clip gradients to this norm; 0 = not at all."},                   \
	        {"max-length", 0, "N", "Longest row in tokens."},                                            \
	        {"no-shuffle", 0, NULL, "Take the rows in their order, in every epoch."},                    \
	        {"dropout", 0, "X", "Of a classifier's head."},                                              \
	        {"problem-type", 0, "WHICH", "What labels are: auto, classification or regression."},        \
	        {"metric", 0, "NAME", "By which the best checkpoint is chosen, or auto."},                   \
	        {"eval-every", 0, "STEPS", "Evaluate so often."},                                            \
	        {"patience", 0, "N", "Stop after so many evaluations without improvement."},                 \
	        {"keep", 0, "WHICH", "Keep the best or the last."},                                          \
	        {"preset", 0, "NAME", "none, or paper: the RED paper's settings for this base and task."},   \
	        {"seed", 0, "N", "Same data, settings and seed: same adapter, byte for byte."},              \
	        {"adapter", 0, "TYPE", "The method (default red)."},                                         \
	        {"positions", 0, "LIST",                                                                     \
	                "Where to edit: ffn (the default), attn, qkv, res, attn_res, with commas."},         \
	        {"parts", 0, "LIST", "What to train: scale,bias (the default); ln adds a layer norm."},      \
	        {"layers", 0, "LIST", "Which layers: all (the default), or such as 0,2,5-11."},              \
	        {"set", 0, "KEY=VALUE",                                                                      \
	                "A hyperparameter by its name in the API; VALUE is JSON, or else a text. May be\n"   \
	                "repeated."},                                                                        \
	{                                                                                                    \
		"metadata", 0, "KEY=VALUE", "Attach a note to the job; may be repeated."                     \
	}

const struct args_option submit_options[] = {
        {"watch", 'w', NULL,
                "Follow the job to its end: step, loss, tokens per second, time left.\n"
                "Ctrl-C leaves the job running."},
        {"idempotency-key", 0, "KEY", "Submitting again with the same key gives the same job."},
        JOB_OPTIONS,
        {NULL, 0, NULL, NULL},
};

const struct args_option preflight_options[] = {
        JOB_OPTIONS,
        {NULL, 0, NULL, NULL},
};

enum number_kind { NUMBER_WHOLE, NUMBER_REAL, NUMBER_WORD };

/* Options that become hyperparameters one to one; the server knows their ranges. */
static const struct {
	const char *option, *member;
	enum number_kind kind;
	bool may_be_auto;
} hyperparameters[] = {
        {"epochs", "n_epochs", NUMBER_WHOLE, true},
        {"batch-size", "batch_size", NUMBER_WHOLE, true},
        {"lr", "learning_rate", NUMBER_REAL, false},
        {"lr-multiplier", "learning_rate_multiplier", NUMBER_REAL, true},
        {"scheduler", "lr_scheduler", NUMBER_WORD, false},
        {"warmup-ratio", "warmup_ratio", NUMBER_REAL, false},
        {"warmup-steps", "warmup_steps", NUMBER_WHOLE, false},
        {"weight-decay", "weight_decay", NUMBER_REAL, false},
        {"weight-decay-towards", "weight_decay_towards", NUMBER_WORD, false},
        {"beta1", "beta1", NUMBER_REAL, false},
        {"beta2", "beta2", NUMBER_REAL, false},
        {"eps", "eps", NUMBER_REAL, false},
        {"dropout", "dropout", NUMBER_REAL, false},
        {"problem-type", "problem_type", NUMBER_WORD, false},
        {"metric", "metric", NUMBER_WORD, true},
        {"max-grad-norm", "max_grad_norm", NUMBER_REAL, false},
        {"max-length", "max_length", NUMBER_WHOLE, false},
        {"eval-every", "eval_every", NUMBER_WHOLE, false},
        {"patience", "early_stopping_patience", NUMBER_WHOLE, false},
        {"keep", "keep", NUMBER_WORD, false},
};

/* ---- the body ---- */

static enum err number_json(const struct args *a, const char *option, enum number_kind kind, bool may_be_auto,
        json_t **out, struct why *why)
{
	const char *text = args_text(a, option);
	int64_t whole = 0;
	double real = 0;
	enum err e = OK;

	if (kind == NUMBER_WORD || (may_be_auto && strcmp(text, "auto") == 0)) {
		*out = json_string(text);
	} else if (kind == NUMBER_WHOLE) {
		e = args_integer(a, option, 0, INT64_MAX, &whole, why);
		*out = e ? NULL : json_integer(whole);
	} else {
		e = args_real(a, option, 0, 1e9, &real, why);
		*out = e ? NULL : json_real(real);
	}
	return e ? e : *out ? OK : ERR_MEM;
}

static enum err add_hyperparameters(const struct args *a, json_t *body, struct why *why)
{
	json_t *set = json_object(), *value = NULL;
	enum err e = OK;

	for (size_t i = 0; i < sizeof(hyperparameters) / sizeof(hyperparameters[0]) && !e; i++) {
		if (!args_text(a, hyperparameters[i].option))
			continue;
		e = number_json(a, hyperparameters[i].option, hyperparameters[i].kind,
		        hyperparameters[i].may_be_auto, &value, why);
		if (!e && json_object_set_new(set, hyperparameters[i].member, value) < 0)
			e = ERR_MEM;
	}
	if (!e && args_flag(a, "no-shuffle") && json_object_set_new(set, "shuffle", json_false()) < 0)
		e = ERR_MEM;
	if (!e)
		e = command_set_members(a, set, why);
	if (e || !json_object_size(set)) {
		json_decref(set);
		return e;
	}
	value = json_pack("{s:s, s:{s:o}}", "type", "supervised", "supervised", "hyperparameters", set);
	return value && json_object_set_new(body, "method", value) == 0 ? OK : ERR_MEM;
}

/* "ffn,attn" as ["ffn","attn"]. */
static enum err split_words(const char *option, const char *text, json_t **out, struct why *why)
{
	json_t *list = json_array();
	size_t n;

	for (; list; text += n + 1) {
		n = strcspn(text, ",");
		if (!n || json_array_append_new(list, json_stringn(text, n)) < 0) {
			json_decref(list);
			return args_wrong(why, "--%s: words with commas between, without blanks", option);
		}
		if (!text[n])
			break;
	}
	*out = list;
	return list ? OK : ERR_MEM;
}

/* Digits at *p, which moves behind them; -1 when there are none or it is absurd. */
static long layer_number(const char **p)
{
	char *end;
	long v;

	if (!isdigit((unsigned char)**p))
		return -1;
	v = strtol(*p, &end, 10);
	*p = end;
	return v < MAX_LAYERS ? v : -1;
}

enum err submit_layers(const char *text, json_t **out, struct why *why)
{
	const char *p = text;
	json_t *list;

	if (strcmp(text, "all") == 0) {
		*out = json_string("all");
		return *out ? OK : ERR_MEM;
	}
	list = json_array();
	for (;; p++) {
		long first = layer_number(&p), last = first;

		if (first >= 0 && *p == '-') {
			p++;
			last = layer_number(&p);
		}
		if (first < 0 || last < first || (*p && *p != ','))
			goto fail;
		for (long i = first; i <= last; i++)
			if (json_array_append_new(list, json_integer(i)) < 0)
				goto fail;
		if (!*p)
			break;
	}
	*out = list;
	return OK;
fail:
	json_decref(list);
	return args_wrong(why, "--layers: \"%s\" is neither all nor numbers such as 0,2,5-11", text);
}

static enum err add_adapter(const struct args *a, json_t *body, struct why *why)
{
	static const char *const lists[] = {"positions", "parts"};
	const char *type = args_text(a, "adapter");
	json_t *adapter = json_pack("{s:s}", "type", type ? type : "red"), *value = NULL;
	enum err e = adapter ? OK : ERR_MEM;

	for (size_t i = 0; i < 2 && !e; i++) {
		if (!args_text(a, lists[i]))
			continue;
		e = split_words(lists[i], args_text(a, lists[i]), &value, why);
		if (!e && json_object_set_new(adapter, lists[i], value) < 0)
			e = ERR_MEM;
	}
	if (!e && args_text(a, "layers")) {
		e = submit_layers(args_text(a, "layers"), &value, why);
		if (!e && json_object_set_new(adapter, "layers", value) < 0)
			e = ERR_MEM;
	}
	if (e || (!type && json_object_size(adapter) == 1)) {
		json_decref(adapter);
		return e;
	}
	return json_object_set_new(body, "adapter", adapter) == 0 ? OK : ERR_MEM;
}

static enum err add_metadata(const struct args *a, json_t *body, struct why *why)
{
	json_t *pairs = json_object();
	const char *pair;
	enum err e = pairs ? OK : ERR_MEM;

	for (size_t i = 0; !e && (pair = args_nth(a, "metadata", i)); i++) {
		const char *equals = strchr(pair, '=');

		if (!equals || equals == pair)
			e = args_wrong(why, "--metadata: \"%s\" is not KEY=VALUE", pair);
		else if (json_object_setn_new(pairs, pair, (size_t)(equals - pair), json_string(equals + 1)) <
		         0)
			e = ERR_MEM;
	}
	if (e || !json_object_size(pairs)) {
		json_decref(pairs);
		return e;
	}
	return json_object_set_new(body, "metadata", pairs) == 0 ? OK : ERR_MEM;
}

enum err submit_body(const struct args *a, const char *model, const char *training, const char *validation,
        json_t **out, struct why *why)
{
	json_t *body = json_pack("{s:s, s:s, s:s*, s:s*, s:s*}", "model", model, "training_file", training,
	        "validation_file", validation, "suffix", args_text(a, "suffix"), "preset",
	        args_text(a, "preset"));
	int64_t seed = 0;
	enum err e = body ? OK : ERR_MEM;

	if (!e)
		e = args_integer(a, "seed", 0, INT64_MAX, &seed, why);
	if (!e && args_text(a, "seed") && json_object_set_new(body, "seed", json_integer(seed)) < 0)
		e = ERR_MEM;
	if (!e)
		e = add_hyperparameters(a, body, why);
	if (!e)
		e = add_adapter(a, body, why);
	if (!e)
		e = add_metadata(a, body, why);
	if (e)
		json_decref(body);
	else
		*out = body;
	return e;
}

/* ---- the command ---- */

/* The id of a file: its own when it is one already, else it is uploaded. mem_free(*id). */
static enum err file_id(struct ctl *ctl, const char *name, char **id, struct why *why)
{
	static const struct client_field form[] = {{"purpose", "fine-tune", false}, {NULL, NULL, false}};
	json_t *reply = NULL;
	enum err e;

	if (strncmp(name, "file-", 5) == 0 && access(name, F_OK) < 0) {
		*id = mem_strdup(name);
		return *id ? OK : ERR_MEM;
	}
	e = client_upload(ctl->client, "/v1/files", name, form, &reply, why);
	if (e)
		return e;
	*id = mem_strdup(command_string(reply, "id"));
	if (*id && !ctl->quiet)
		fprintf(ctl->err.file, "uploaded %s as %s\n", name, *id);
	json_decref(reply);
	return *id ? OK : ERR_MEM;
}

/* Wait for the job, replacing *job by its last object. */
static enum err follow(struct ctl *ctl, json_t **job, struct why *why)
{
	struct watch_job one = {.id = command_string(*job, "id"), .label = ""};
	json_t *last = NULL;
	enum err e = watch_jobs(ctl, &one, 1, &last, why);

	if (last) {
		json_decref(*job);
		*job = last;
	}
	return e;
}

static void print_job(const struct ctl *ctl, const json_t *job)
{
	const char *adapter = command_string(job, "fine_tuned_model");

	if (ctl->json)
		command_print_json(job);
	else if (*adapter)
		printf("%s\n", adapter);
	else
		printf("%s\n", command_string(job, "id"));
}

enum err submit_prepare(struct ctl *ctl, json_t **body, struct why *why)
{
	const char *validation = args_text(&ctl->args, "validation");
	char *model = NULL, *train_id = NULL, *valid_id = NULL;
	json_t *trial = NULL;
	enum err e;

	/* What is wrong with the options is said before anything is uploaded. */
	e = submit_body(&ctl->args, "", "", NULL, &trial, why);
	json_decref(trial);
	if (!e && args_text(&ctl->args, "model")) {
		model = mem_strdup(args_text(&ctl->args, "model"));
		e = model ? OK : ERR_MEM;
	} else if (!e) {
		e = command_base_model(ctl, &model, why);
	}
	if (!e)
		e = file_id(ctl, ctl->args.operands[0], &train_id, why);
	if (!e && validation)
		e = file_id(ctl, validation, &valid_id, why);
	if (!e)
		e = submit_body(&ctl->args, model, train_id, valid_id, body, why);
	mem_free(model);
	mem_free(train_id);
	mem_free(valid_id);
	return e;
}

static enum err run_submit(struct ctl *ctl, struct why *why)
{
	const char *once = args_text(&ctl->args, "idempotency-key");
	json_t *body = NULL, *job = NULL;
	enum err e = submit_prepare(ctl, &body, why);

	if (!e && once)
		e = client_add_header(ctl->client, "Idempotency-Key", once);
	if (!e)
		e = client_request(ctl->client, "POST", "/v1/fine_tuning/jobs", body, &job, why);
	if (!e && args_flag(&ctl->args, "watch")) {
		if (!ctl->quiet)
			fprintf(ctl->err.file, "job %s\n", command_string(job, "id"));
		e = follow(ctl, &job, why);
	}
	if (job)
		print_job(ctl, job);
	json_decref(body);
	json_decref(job);
	return e;
}

const struct command submit_commands[] = {
        {"submit", "DATA.jsonl", "Upload training data and start a job",
                "DATA.jsonl is a local file, - for standard input, or the id of a file uploaded before. Its "
                "lines are\n"
                "{\"messages\":[{\"role\":\"user\",\"content\":\"...\"},{\"role\":\"assistant\",\"content\":"
                "\"...\"}]} or\n"
                "{\"prompt\":\"...\",\"completion\":\"...\"}. Prints the job's id, or with --watch the "
                "adapter's name once it is there:\n"
                "what chat and complete take as --model. What is not said is chosen by the daemon.",
                submit_options, 1, 1, false, run_submit},
        {0},
};
