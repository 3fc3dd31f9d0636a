/* Texts as tokens, tokens as text, and texts classified. */
#include "core/mem.h"
#include "daemon/ctl/ask.h"
#include "daemon/ctl/table.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const struct args_option tokenize_options[] = {
        {"model", 'm', "MODEL", "Whose tokenizer (default: the base; adapters share it)."},
        {"no-special", 0, NULL, "Without the special tokens a text gets at its ends."},
        {NULL, 0, NULL, NULL},
};

static const struct args_option detokenize_options[] = {
        {"model", 'm', "MODEL", "Whose tokenizer (default: the base; adapters share it)."},
        {NULL, 0, NULL, NULL},
};

static const struct args_option classify_options[] = {
        {"model", 'm', "MODEL", "The adapter whose classifier answers."},
        {"pair", 0, "TEXT", "The second text of the pair; then there is one TEXT."},
        {"strength", 0, "X", "How far the adapter is applied: 0 = the base, 1 = as trained."},
        {NULL, 0, NULL, NULL},
};

/* --model, or the base's id; mem_free(*id). */
static enum err model_id(struct ctl *ctl, char **id, struct why *why)
{
	const char *named = args_text(&ctl->args, "model");

	if (!named)
		return command_base_model(ctl, id, why);
	*id = mem_strdup(named);
	return *id ? OK : ERR_MEM;
}

/* POST body, made of the user's texts. Releases it. */
static enum err ask(struct ctl *ctl, const char *path, json_t *body,
        void (*print)(struct ctl *ctl, const json_t *reply), struct why *why)
{
	return body ? command_send(ctl, "POST", path, body, print, why)
	            : args_wrong(why, "the text is not UTF-8");
}

/* ---- tokens ---- */

static void print_tokens(struct ctl *ctl, const json_t *reply)
{
	const json_t *id;
	size_t i;

	json_array_foreach (json_object_get(reply, "tokens"), i, id)
		fprintf(ctl->out.file, "%s%lld", i ? " " : "", (long long)json_integer_value(id));
	fputc('\n', ctl->out.file);
}

static enum err run_tokenize(struct ctl *ctl, struct why *why)
{
	struct buf text = {0};
	char *model = NULL;
	enum err e = ask_read_prompt(ctl, &text, why);

	if (!e)
		e = model_id(ctl, &model, why);
	if (!e)
		e = ask(ctl, "/v1/tokenize",
		        json_pack("{s:s, s:s%, s:b}", "model", model, "prompt", text.data, text.len,
		                "add_special_tokens", !args_flag(&ctl->args, "no-special")),
		        print_tokens, why);
	mem_free(model);
	buf_fini(&text);
	return e;
}

static void print_text(struct ctl *ctl, const json_t *reply)
{
	term_print(&ctl->out, command_string(reply, "prompt"));
	fputc('\n', ctl->out.file);
}

/* Numbers with blanks or commas between. */
static enum err parse_ids(const char *text, json_t **out, struct why *why)
{
	json_t *ids = json_array();

	for (const char *p = text; ids;) {
		char *end;
		long id;

		p += strspn(p, " \t\r\n,[]");
		if (!*p)
			break;
		id = strtol(p, &end, 10);
		if (!isdigit((unsigned char)*p) || id < 0 || id > INT32_MAX ||
		        json_array_append_new(ids, json_integer(id)) < 0) {
			json_decref(ids);
			return args_wrong(why, "\"%.20s\" is not a token's number", p);
		}
		p = end;
	}
	*out = ids;
	return ids ? OK : ERR_MEM;
}

static enum err run_detokenize(struct ctl *ctl, struct why *why)
{
	struct buf text = {0};
	char *model = NULL;
	json_t *ids = NULL;
	enum err e = ask_read_prompt(ctl, &text, why);

	if (!e)
		e = parse_ids(text.data, &ids, why);
	if (!e)
		e = model_id(ctl, &model, why);
	if (!e)
		e = ask(ctl, "/v1/detokenize", json_pack("{s:s, s:O}", "model", model, "tokens", ids),
		        print_text, why);
	json_decref(ids);
	mem_free(model);
	buf_fini(&text);
	return e;
}

/* ---- classes ---- */

static void print_classes(struct ctl *ctl, const json_t *reply)
{
	struct table t = {.n_columns = 3};
	const char *heading[] = {"TEXT", "LABEL", "PROBABILITIES"};
	const json_t *item;
	enum err e = table_row(&t, heading);
	size_t i;

	json_array_foreach (json_object_get(reply, "data"), i, item) {
		char index[24];
		char *label =
		        json_dumps(json_object_get(item, "label"), JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
		char *probs =
		        json_dumps(json_object_get(item, "probs"), JSON_ENCODE_ANY | JSON_REAL_PRECISION(4));
		const char *text = json_string_value(json_object_get(item, "label"));
		const char *cells[] = {index, text ? text : label ? label : "-", probs ? probs : "-"};

		snprintf(index, sizeof(index), "%lld", (long long)command_integer(item, "index") + 1);
		if (!e)
			e = table_row(&t, cells);
		free(label);
		free(probs);
	}
	table_print(&t, &ctl->out);
	table_fini(&t);
}

/* Every operand is a text; without operands every line of standard input; with --pair one of two. */
static enum err class_inputs(struct ctl *ctl, json_t **out, struct why *why)
{
	const char *pair = args_text(&ctl->args, "pair");
	json_t *list = json_array();
	char *line = NULL;
	size_t size = 0;
	ssize_t n;
	int failed = !list;

	if (pair && ctl->args.n_operands != 1) {
		json_decref(list);
		return args_wrong(why, "with --pair there is one TEXT");
	}
	for (size_t i = 0; i < ctl->args.n_operands && !failed; i++)
		failed = json_array_append_new(list, pair ? json_pack("[ss]", ctl->args.operands[i], pair)
		                                          : json_string(ctl->args.operands[i])) < 0;
	while (!ctl->args.n_operands && !failed && (n = getline(&line, &size, stdin)) > 0) {
		line[strcspn(line, "\r\n")] = '\0';
		if (*line)
			failed = json_array_append_new(list, json_string(line)) < 0;
	}
	free(line);
	*out = list;
	return failed ? args_wrong(why, "a text is not UTF-8")
	       : json_array_size(list)
	               ? OK
	               : args_wrong(why, "there is no text, neither as argument nor on standard input");
}

static enum err run_classify(struct ctl *ctl, struct why *why)
{
	json_t *inputs = NULL, *body;
	double strength = 1;
	char *model = NULL;
	enum err e = args_real(&ctl->args, "strength", -1e3, 1e3, &strength, why);

	if (!e)
		e = class_inputs(ctl, &inputs, why);
	if (!e)
		e = model_id(ctl, &model, why);
	if (!e) {
		body = json_pack("{s:s, s:O}", "model", model, "input", inputs);
		if (args_text(&ctl->args, "strength"))
			(void)json_object_set_new(body, "adapter_strength", json_real(strength));
		e = ask(ctl, "/v1/classify", body, print_classes, why);
	}
	json_decref(inputs);
	mem_free(model);
	return e;
}

const struct command text_commands[] = {
        {"classify", "[TEXT...]", "Ask an encoder's adapter for labels",
                "Every TEXT is classified by itself; without one, every line of standard input.",
                classify_options, 0, 64, false, run_classify},
        {"tokenize", "[TEXT...]", "Print a text's tokens as numbers",
                "Without a text it is read from standard input.", tokenize_options, 0, 64, false,
                run_tokenize},
        {"detokenize", "[NUMBER...]", "Print the text of tokens",
                "Without numbers they are read from standard input.", detokenize_options, 0, 4096, false,
                run_detokenize},
        {0},
};
