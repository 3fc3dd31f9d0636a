/* See complete.h. */
#include "daemon/ctl/complete.h"

#include "daemon/ctl/connect.h"
#include "daemon/ctl/help.h"

#include <string.h>

#define MAX_OPERANDS 8

/* A command line, as far as it goes. */
struct line {
	FILE *to;
	char *const *words;
	size_t n;                          /* complete ones */
	const char *at;                    /* the word at the cursor */
	const struct command *command;     /* NULL = not known yet */
	const struct args_option *waiting; /* the option whose value stands at the cursor, or NULL */
	size_t n_operands; /* complete ones, the command's name included while it is not known */
	const char *operands[MAX_OPERANDS];
};

static void say(const struct line *l, const char *candidate, const char *description)
{
	if (strncmp(candidate, l->at, strlen(l->at)) != 0)
		return;
	fprintf(l->to, "%s", candidate);
	if (description)
		fprintf(l->to, "\t%.*s", (int)strcspn(description, "\n"), description);
	fputc('\n', l->to);
}

/* ---- reading the line ---- */

static const struct args_option *find_in(const struct args_option *table, const char *word)
{
	for (; table && table->name; table++) {
		if (word[0] == '-' && word[1] == '-' && strcmp(word + 2, table->name) == 0)
			return table;
		if (word[0] == '-' && table->letter && word[1] == table->letter && !word[2])
			return table;
	}
	return NULL;
}

static const struct args_option *find_option(const struct line *l, const char *word)
{
	const struct args_option *o = find_in(l->command ? l->command->options : NULL, word);

	return o ? o : find_in(global_options, word);
}

static void take_operand(struct line *l, const char *word)
{
	size_t n_words = 0;

	if (l->n_operands < MAX_OPERANDS)
		l->operands[l->n_operands++] = word;
	if (l->command)
		return;
	l->command = help_find((char *const *)l->operands, l->n_operands, &n_words);
	if (l->command)
		l->n_operands = 0;
}

static void read_line(struct line *l)
{
	for (size_t i = 0; i < l->n; i++) {
		const char *word = l->words[i];
		const struct args_option *o = *word == '-' ? find_option(l, word) : NULL;

		if (o && o->argument && i + 1 == l->n)
			l->waiting = o;
		else if (o && o->argument)
			i++;
		else if (*word != '-')
			take_operand(l, word);
	}
}

/* ---- candidates ---- */

/* Whether an earlier command begins with the same word of two. */
static bool said_before(const struct command *c, size_t n)
{
	for (const struct command *b = NULL; (b = help_each(b)) != c;)
		if (strncmp(b->name, c->name, n) == 0 && b->name[n] == ' ')
			return true;
	return false;
}

static void say_commands(const struct line *l)
{
	for (const struct command *c = NULL; (c = help_each(c));) {
		size_t n = strcspn(c->name, " ");
		bool two = c->name[n] != '\0';
		char word[32];

		snprintf(word, sizeof(word), "%.*s", (int)n, c->name);
		if (!l->n_operands && !two)
			say(l, word, c->summary);
		else if (!l->n_operands && !said_before(c, n))
			say(l, word, NULL);
		else if (l->n_operands == 1 && two && strcmp(word, l->operands[0]) == 0)
			say(l, c->name + n + 1, c->summary);
	}
}

static void say_options(const struct line *l, const struct args_option *table)
{
	char word[64];

	for (; table && table->name; table++) {
		snprintf(word, sizeof(word), "--%s", table->name);
		say(l, word, table->help);
	}
}

/* The members called key of what a list of the API holds, behind them the one called about. */
static void say_list(const struct line *l, const char *path, bool admin, const char *key, const char *about)
{
	struct args none = {.n_given = 0};
	struct client *c = NULL;
	json_t *reply = NULL;
	const json_t *item;
	size_t i;

	if (!connect_client(&none, admin, &c, NULL) && !client_request(c, "GET", path, NULL, &reply, NULL))
		json_array_foreach (json_object_get(reply, "data"), i, item)
			say(l, command_string(item, key), command_string(item, about));
	json_decref(reply);
	client_free(c);
}

/* Values by what --help and the usage call them. */
static void say_values(const struct line *l, const char *kind, size_t n)
{
	static const struct {
		const char *kind, *path, *key, *about;
		bool admin;
	} lists[] = {
	        {"JOB", "/v1/fine_tuning/jobs?limit=100", "id", "status", false},
	        {"FILE-ID", "/v1/files?limit=100", "id", "filename", false},
	        {"MODEL", "/v1/models?limit=1000", "id", "parent", false},
	        {"MODEL", "/v1/aliases", "id", "model", false},
	        {"ALIAS", "/v1/aliases", "id", "model", false},
	        {"WEBHOOK", "/v1/webhook_endpoints?limit=100", "id", "name", false},
	        {"TENANT", "/v1/admin/tenants?limit=1000", "name", "id", true},
	};

	if (strncmp(kind, "FILE", n) == 0 || strncmp(kind, "DATA.jsonl", n) == 0) {
		if (n == 4 || n == 10)
			fprintf(l->to, "%s\n", COMPLETE_FILES);
		if (n == 4)
			return;
	}
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		if (strlen(lists[i].kind) == n && memcmp(lists[i].kind, kind, n) == 0)
			say_list(l, lists[i].path, lists[i].admin, lists[i].key, lists[i].about);
}

/* Options whose values are words of a short list. */
static bool say_words(const struct line *l, const char *option)
{
	static const struct {
		const char *option, *words;
	} known[] = {
	        {"scheduler", "linear cosine constant"},
	        {"keep", "best last"},
	        {"problem-type", "auto classification regression"},
	        {"preset", "none paper"},
	        {"weight-decay-towards", "zero identity"},
	        {"parts", "scale bias scale,bias ln"},
	        {"positions", "ffn attn qkv res attn_res"},
	        {"layers", "all"},
	        {"purpose", "fine-tune"},
	        {"adapter", "red"},
	        {"event", "succeeded failed cancelled"},
	};
	char word[32];

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		const char *p = known[i].words;

		if (strcmp(known[i].option, option) != 0)
			continue;
		for (size_t n; *p; p += n + (p[n] == ' ')) {
			n = strcspn(p, " ");
			snprintf(word, sizeof(word), "%.*s", (int)n, p);
			say(l, word, NULL);
		}
		return true;
	}
	return false;
}

/* The n-th word of the command's usage; a last one with "..." stands for all that follow. */
static void say_operand(const struct line *l)
{
	const char *p = l->command->operands;
	size_t n = 0;

	for (size_t i = 0;; i++) {
		p += strspn(p, " [");
		n = strcspn(p, " .]");
		if (strncmp(p, "DATA.jsonl", 10) == 0)
			n = 10;
		if (!n)
			return;
		if (i == l->n_operands || strncmp(p + n, "...", 3) == 0)
			break;
		p += strcspn(p, " ");
	}
	say_values(l, p, n);
}

void complete_print(FILE *to, char *const *words, size_t n)
{
	struct line l = {.to = to, .words = words, .n = n ? n - 1 : 0, .at = n ? words[n - 1] : ""};

	read_line(&l);
	if (l.waiting) {
		if (!say_words(&l, l.waiting->name))
			say_values(&l, l.waiting->argument, strlen(l.waiting->argument));
	} else if (*l.at == '-') {
		say_options(&l, l.command ? l.command->options : NULL);
		say_options(&l, global_options);
	} else if (!l.command) {
		say_commands(&l);
	} else {
		say_operand(&l);
	}
}
