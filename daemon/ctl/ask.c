/* See ask.h; and the two commands that ask a model, printing the answer as it comes. */
#include "daemon/ctl/ask.h"

#include "core/buf.h"
#include "core/mem.h"
#include "daemon/ctl/command.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_PROMPT_BYTES (4u << 20)

const struct args_option ask_options[] = {
        {"model", 'm', "MODEL",
                "Who answers: the base (the default) or an adapter. Given several times, they\n"
                "answer one after the other."},
        {"max-tokens", 'n', "N", "Stop after so many tokens."},
        {"temperature", 't', "X", "0 = always the likeliest token."},
        {"top-p", 0, "X", "Sample from the likeliest tokens that make up this probability."},
        {"top-k", 0, "N", "Sample from so many tokens."},
        {"stop", 0, "TEXT", "Stop before this text; may be repeated."},
        {"seed", 0, "N", "Same seed, same answer."},
        {"min-p", 0, "X", "Sample from tokens at least so likely, relative to the likeliest."},
        {"presence-penalty", 0, "X", "Against tokens that were used, -2 to 2."},
        {"frequency-penalty", 0, "X", "The same, by how often."},
        {"repetition-penalty", 0, "X", "Divides the score of tokens that were used; 1 = none."},
        {"no-repeat-ngram", 0, "N", "No run of so many tokens comes twice."},
        {"beams", 0, "N", "Search with so many beams instead of sampling."},
        {"length-penalty", 0, "X", "Of beams: above 0 favours longer answers."},
        {"strength", 0, "X", "How far the adapter is applied: 0 = the base, 1 = as trained."},
        {"set", 0, "KEY=VALUE",
                "Any other field of the request; VALUE is JSON, or else a text. May be repeated."},
        {"system", 0, "TEXT", "A system message before the conversation (chat only)."},
        {NULL, 0, NULL, NULL},
};

/* ---- pure parts ---- */

/* Options that become numbers of the request one to one. */
static const struct {
	const char *option, *member;
	bool whole;
	double min, max;
} numbers[] = {
        {"max-tokens", "max_tokens", true, 1, 1e9},
        {"temperature", "temperature", false, 0, 2},
        {"top-p", "top_p", false, 0, 1},
        {"top-k", "top_k", true, 0, 1e9},
        {"min-p", "min_p", false, 0, 1},
        {"presence-penalty", "presence_penalty", false, -2, 2},
        {"frequency-penalty", "frequency_penalty", false, -2, 2},
        {"repetition-penalty", "repetition_penalty", false, 0, 1e3},
        {"no-repeat-ngram", "no_repeat_ngram_size", true, 0, 1e6},
        {"beams", "num_beams", true, 1, 1e3},
        {"length-penalty", "length_penalty", false, -1e3, 1e3},
        {"strength", "adapter_strength", false, -1e3, 1e3},
};

static enum err set_numbers(const struct args *a, json_t *body, struct why *why)
{
	enum err e = OK;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && !e; i++) {
		const char *option = numbers[i].option;
		int64_t whole = 0;
		double real = 0;

		if (!args_text(a, option))
			continue;
		if (numbers[i].whole)
			e = args_integer(
			        a, option, (int64_t)numbers[i].min, (int64_t)numbers[i].max, &whole, why);
		else
			e = args_real(a, option, numbers[i].min, numbers[i].max, &real, why);
		if (!e && json_object_set_new(body, numbers[i].member,
		                  numbers[i].whole ? json_integer(whole) : json_real(real)) < 0)
			e = ERR_MEM;
	}
	return e;
}

static enum err set_seed(const struct args *a, json_t *body, struct why *why)
{
	int64_t seed = 0;
	enum err e = args_integer(a, "seed", 0, INT64_MAX, &seed, why);

	if (!e && args_text(a, "seed") && json_object_set_new(body, "seed", json_integer(seed)) < 0)
		e = ERR_MEM;
	return e;
}

static enum err set_stops(const struct args *a, json_t *body)
{
	json_t *stops = json_array();
	const char *stop;

	for (size_t i = 0; stops && (stop = args_nth(a, "stop", i)); i++)
		if (json_array_append_new(stops, json_string(stop)) < 0)
			break;
	if (!json_array_size(stops)) {
		json_decref(stops);
		return OK;
	}
	return json_object_set_new(body, "stop", stops) == 0 ? OK : ERR_MEM;
}

enum err ask_body(const struct args *a, const char *model, const char *member, json_t *content, bool stream,
        json_t **out, struct why *why)
{
	json_t *body = json_pack("{s:s, s:O, s:b}", "model", model, member, content, "stream", stream);
	enum err e = body ? OK : ERR_MEM;

	if (!e)
		e = set_numbers(a, body, why);
	if (!e)
		e = set_seed(a, body, why);
	if (!e)
		e = set_stops(a, body);
	if (!e)
		e = command_set_members(a, body, why);
	if (e)
		json_decref(body);
	else
		*out = body;
	return e;
}

const char *ask_event_text(const json_t *event)
{
	const json_t *choice = json_array_get(json_object_get(event, "choices"), 0);
	const json_t *delta = json_object_get(choice, "delta");

	return delta ? command_string(delta, "content") : command_string(choice, "text");
}

/* ---- one answer ---- */

struct answer {
	struct ctl *ctl;
	struct buf text;
	enum err result;
};

static bool on_event(void *arg, const json_t *event)
{
	struct answer *answer = arg;
	const char *text = ask_event_text(event);

	term_print(&answer->ctl->out, text);
	fflush(answer->ctl->out.file);
	answer->result = buf_puts(&answer->text, text);
	return answer->result == OK;
}

/* Ask one model. With --json *reply is its whole answer; otherwise the text is printed as it comes, and *said
 * (may be NULL) is a copy of it, mem_free(). */
static enum err ask_one(struct ctl *ctl, const char *model, const char *member, json_t *content,
        json_t **reply, char **said, struct why *why)
{
	const char *path = strcmp(member, "messages") == 0 ? "/v1/chat/completions" : "/v1/completions";
	struct answer answer = {.ctl = ctl};
	json_t *body = NULL;
	enum err e = ask_body(&ctl->args, model, member, content, !ctl->json, &body, why);

	if (!e && ctl->json)
		e = client_request(ctl->client, "POST", path, body, reply, why);
	else if (!e) {
		e = client_stream(ctl->client, "POST", path, body, on_event, &answer, why);
		putchar('\n');
		fflush(stdout);
	}
	if (!e)
		e = answer.result;
	if (!e && said) {
		*said = mem_strdup(answer.text.len ? answer.text.data : "");
		e = *said ? OK : ERR_MEM;
	}
	buf_fini(&answer.text);
	json_decref(body);
	return e;
}

/* Ask every --model, or the base when there is none, the same. */
static enum err ask_all(struct ctl *ctl, const char *member, json_t *content, struct why *why)
{
	bool several = args_nth(&ctl->args, "model", 1) != NULL;
	json_t *replies = json_array(), *reply;
	const char *model;
	char *base = NULL;
	enum err e = replies ? OK : ERR_MEM;

	if (!e && !args_text(&ctl->args, "model"))
		e = command_base_model(ctl, &base, why);
	for (size_t i = 0; !e; i++) {
		model = base ? base : args_nth(&ctl->args, "model", i);
		if (!model || (base && i))
			break;
		if (several && !ctl->json)
			printf("%s%s== %s%s\n", i ? "\n" : "", term_colour(&ctl->out, TERM_BOLD), model,
			        term_colour(&ctl->out, TERM_PLAIN));
		reply = NULL;
		e = ask_one(ctl, model, member, content, &reply, NULL, why);
		if (e)
			why_prefix(why, "%s: ", model);
		else if (reply && json_array_append_new(replies, reply) < 0)
			e = ERR_MEM;
	}
	if (ctl->json && !e)
		command_print_json(several ? replies : json_array_get(replies, 0));
	json_decref(replies);
	mem_free(base);
	return e;
}

enum err ask_read_prompt(struct ctl *ctl, struct buf *prompt, struct why *why)
{
	char piece[4096];
	size_t n;
	enum err e = OK;

	for (size_t i = 0; i < ctl->args.n_operands && !e; i++) {
		if (i)
			e = buf_puts(prompt, " ");
		if (!e)
			e = buf_puts(prompt, ctl->args.operands[i]);
	}
	if (e || ctl->args.n_operands)
		return e;
	while (!e && (n = fread(piece, 1, sizeof(piece), stdin)) > 0) {
		if (prompt->len + n > MAX_PROMPT_BYTES)
			return why_set(
			        why, ERR_TOO_LARGE, "the prompt is larger than %u bytes", MAX_PROMPT_BYTES);
		e = buf_append(prompt, piece, n);
	}
	if (!e && !prompt->len)
		e = args_wrong(why, "there is no text, neither as argument nor on standard input");
	return e;
}

static enum err run_complete(struct ctl *ctl, struct why *why)
{
	struct buf prompt = {0};
	json_t *content = NULL;
	enum err e = ask_read_prompt(ctl, &prompt, why);

	if (!e) {
		content = json_stringn(prompt.data, prompt.len);
		e = content ? ask_all(ctl, "prompt", content, why)
		            : args_wrong(why, "the prompt is not UTF-8");
	}
	json_decref(content);
	buf_fini(&prompt);
	return e;
}

/* ---- chat ---- */

static enum err add_message(json_t *messages, const char *role, const char *text, struct why *why)
{
	json_t *message = json_pack("{s:s, s:s}", "role", role, "content", text);

	if (!message)
		return args_wrong(why, "the text is not UTF-8");
	return json_array_append_new(messages, message) == 0 ? OK : ERR_MEM;
}

/* Read a line, ask, remember both; until the end of input. */
static enum err converse(struct ctl *ctl, const char *model, json_t *messages, struct why *why)
{
	char *line = NULL, *said;
	size_t size = 0;
	enum err e = OK;

	if (!ctl->quiet)
		fprintf(ctl->err.file, "%s answers. Ctrl-D ends.\n", model);
	while (!e) {
		ssize_t n;

		printf("%s>%s ", term_colour(&ctl->out, TERM_CYAN), term_colour(&ctl->out, TERM_PLAIN));
		fflush(stdout);
		n = getline(&line, &size, stdin);
		if (n < 0)
			break;
		line[strcspn(line, "\n")] = '\0';
		if (!*line)
			continue;
		said = NULL;
		e = add_message(messages, "user", line, why);
		if (!e)
			e = ask_one(ctl, model, "messages", messages, NULL, &said, why);
		if (!e)
			e = add_message(messages, "assistant", said, why);
		mem_free(said);
	}
	if (!e)
		putchar('\n');
	free(line);
	return e;
}

static enum err chat_on_terminal(struct ctl *ctl, json_t *messages, struct why *why)
{
	const char *model = args_text(&ctl->args, "model");
	char *base = NULL;
	enum err e = model ? OK : command_base_model(ctl, &base, why);

	if (!e)
		e = converse(ctl, model ? model : base, messages, why);
	mem_free(base);
	return e;
}

static enum err run_chat(struct ctl *ctl, struct why *why)
{
	const char *system = args_text(&ctl->args, "system");
	struct buf prompt = {0};
	json_t *messages = json_array();
	enum err e = messages ? OK : ERR_MEM;

	if (!e && system)
		e = add_message(messages, "system", system, why);
	if (!e && !ctl->args.n_operands && !ctl->json && isatty(STDIN_FILENO)) {
		e = chat_on_terminal(ctl, messages, why);
	} else if (!e) {
		e = ask_read_prompt(ctl, &prompt, why);
		if (!e)
			e = add_message(messages, "user", prompt.data, why);
		if (!e)
			e = ask_all(ctl, "messages", messages, why);
	}
	json_decref(messages);
	buf_fini(&prompt);
	return e;
}

const struct command ask_commands[] = {
        {"chat", "[PROMPT...]", "Talk to the base or an adapter",
                "Without a prompt it is read from standard input, or on a terminal a conversation begins.",
                ask_options, 0, 64, false, run_chat},
        {"complete", "[PROMPT...]", "Let the base or an adapter continue a text",
                "Without a prompt it is read from standard input.", ask_options, 0, 64, false, run_complete},
        {0},
};
