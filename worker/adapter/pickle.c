/* See pickle.h. A machine with a stack, marks in it, and a memo; each opcode is a row of a table. */
#include "worker/adapter/pickle.h"

#include "core/mem.h"
#include "worker/adapter/pickle_machine.h"

#include <stdint.h>
#include <string.h>

#define MAX_PROTOCOL 5
#define ORDERED_DICT "collections OrderedDict"

/* ---- opcodes: each has its operand's width, or what kind it makes, in the table below ---- */

struct opcode {
	enum err (*run)(struct machine *m, const struct opcode *op);
	uint8_t width;
	uint8_t kind;
	int8_t value;
};

static enum err op_protocol(struct machine *m, const struct opcode *op)
{
	uint64_t version = 0;
	enum err e = machine_take_number(m, op->width, &version);

	if (!e && version > MAX_PROTOCOL)
		return why_set(m->why, ERR_UNSUPPORTED, "pickle protocol %u is not known", (unsigned)version);
	return e;
}

/* Frames only tell how much to read ahead. */
static enum err op_skip(struct machine *m, const struct opcode *op)
{
	uint64_t ignored;

	return machine_take_number(m, op->width, &ignored);
}

static enum err op_stop(struct machine *m, const struct opcode *op)
{
	enum err e = machine_pop(m, &m->pickle->root);

	(void)op;
	m->stopped = true;
	return e;
}

static enum err op_mark(struct machine *m, const struct opcode *op)
{
	(void)op;
	return machine_push(m, NULL);
}

static enum err op_constant(struct machine *m, const struct opcode *op)
{
	struct pickle_value *v = NULL;
	enum err e = machine_push_new(m, op->kind, &v);

	if (!e && op->kind == PICKLE_BOOL)
		v->integer = op->value;
	return e;
}

static enum err op_int(struct machine *m, const struct opcode *op)
{
	struct pickle_value *v = NULL;
	uint64_t n = 0;
	enum err e = machine_take_number(m, op->width, &n);

	if (!e)
		e = machine_push_new(m, PICKLE_INT, &v);
	if (!e) /* four bytes have a sign, fewer have none */
		v->integer = op->width == 4 ? (int64_t)(int32_t)(uint32_t)n : (int64_t)n;
	return e;
}

/* Two's complement of any length; more than eight bytes serve nothing here. */
static enum err op_long(struct machine *m, const struct opcode *op)
{
	struct pickle_value *v = NULL;
	const unsigned char *p = NULL;
	uint64_t bits = 0;
	size_t n = 0;
	enum err e = machine_take_counted(m, op->width, &p, &n);

	if (!e && n > sizeof(bits))
		return why_set(m->why, ERR_UNSUPPORTED, "the pickle holds an integer of %zu bytes", n);
	if (!e)
		e = machine_push_new(m, PICKLE_INT, &v);
	if (e)
		return e;
	if (n && p[n - 1] & 0x80)
		bits = UINT64_MAX;
	for (size_t i = 0; i < n; i++)
		bits = (bits & ~((uint64_t)0xff << (8 * i))) | (uint64_t)p[i] << (8 * i);
	v->integer = (int64_t)bits;
	return OK;
}

static enum err op_float(struct machine *m, const struct opcode *op)
{
	struct pickle_value *v = NULL;
	const unsigned char *p = NULL;
	uint64_t bits = 0;
	enum err e = machine_take(m, op->width, &p);

	if (!e)
		e = machine_push_new(m, PICKLE_FLOAT, &v);
	for (size_t i = 0; !e && i < sizeof(bits); i++) /* big-endian, alone among all */
		bits = bits << 8 | p[i];
	if (!e)
		memcpy(&v->real, &bits, sizeof(bits));
	return e;
}

static enum err op_text(struct machine *m, const struct opcode *op)
{
	struct pickle_value *v = NULL;
	const unsigned char *p = NULL;
	size_t n = 0;
	enum err e = machine_take_counted(m, op->width, &p, &n);

	if (!e)
		e = machine_push_new(m, op->kind, &v);
	return e ? e : pickle_value_set(v, p, n);
}

/* value = how many items, or -1 for all above the mark, which goes. */
static enum err op_tuple(struct machine *m, const struct opcode *op)
{
	size_t first = 0, n_left;
	struct pickle_value *v = NULL;
	enum err e = machine_find(m, op->value, &first);

	if (!e)
		e = pickle_value_new(m->pickle, op->kind, &v);
	if (e)
		return e;
	n_left = op->value < 0 ? first - 1 : first;
	for (size_t i = first; !e && i < m->n_stack; i++)
		e = pickle_value_add(v, m->stack[i]);
	m->n_stack = n_left;
	return e ? e : machine_push(m, v);
}

/* value = how many items the top adds to what lies below, or -1 for all above the mark. */
static enum err op_add(struct machine *m, const struct opcode *op)
{
	size_t first = 0, n;
	struct pickle_value *v = NULL;
	enum err e = machine_find(m, op->value, &first);

	if (e)
		return e;
	n = m->n_stack - first;
	m->n_stack = op->value < 0 ? first - 1 : first;
	e = machine_top(m, &v);
	if (!e && v->kind != op->kind)
		e = why_set(m->why, ERR_FORMAT, "the pickle adds to what is no %s",
		        op->kind == PICKLE_DICT ? "dictionary" : "list");
	if (!e && op->kind == PICKLE_DICT && n % 2)
		return why_set(m->why, ERR_FORMAT, "the pickle has a key without a value");
	for (size_t i = 0; !e && i < n; i++)
		e = pickle_value_add(v, m->stack[first + i]);
	return e;
}

/* ---- the memo ---- */

static enum err memo_put(struct machine *m, uint64_t place)
{
	struct pickle_value *v = NULL;
	enum err e = machine_top(m, &v);

	if (e)
		return e;
	/* Python numbers them one after the other. */
	if (place > m->n_memo)
		return why_set(m->why, ERR_FORMAT, "the pickle's memo has a hole at %zu", m->n_memo);
	if (place == PICKLE_MAX_VALUES)
		return why_set(m->why, ERR_TOO_LARGE, "the pickle remembers more than %zu values",
		        (size_t)PICKLE_MAX_VALUES);
	if (place == m->n_memo) {
		e = pickle_list_grow(&m->memo, m->n_memo, &m->cap_memo);
		if (e)
			return e;
		m->n_memo++;
	}
	m->memo[place] = v;
	return OK;
}

static enum err op_put(struct machine *m, const struct opcode *op)
{
	uint64_t place = 0;
	enum err e = machine_take_number(m, op->width, &place);

	return e ? e : memo_put(m, place);
}

static enum err op_memoize(struct machine *m, const struct opcode *op)
{
	(void)op;
	return memo_put(m, m->n_memo);
}

static enum err op_get(struct machine *m, const struct opcode *op)
{
	uint64_t place = 0;
	enum err e = machine_take_number(m, op->width, &place);

	if (e)
		return e;
	if (place >= m->n_memo)
		return why_set(m->why, ERR_FORMAT, "the pickle's memo has nothing at %llu",
		        (unsigned long long)place);
	return machine_push(m, m->memo[place]);
}

/* ---- names and calls: nothing is looked up and nothing runs ---- */

static bool known_global(const struct machine *m, const char *name)
{
	if (strcmp(name, ORDERED_DICT) == 0)
		return true;
	for (const char *const *g = m->globals; *g; g++)
		if (strcmp(name, *g) == 0)
			return true;
	return false;
}

static enum err push_global(
        struct machine *m, const char *module, size_t n_module, const char *name, size_t n_name)
{
	struct pickle_value *v = NULL;
	enum err e = machine_push_new(m, PICKLE_GLOBAL, &v);

	if (e)
		return e;
	v->n_bytes = n_module + 1 + n_name;
	v->bytes = mem_calloc(v->n_bytes + 1, 1);
	if (!v->bytes)
		return ERR_MEM;
	memcpy(v->bytes, module, n_module);
	v->bytes[n_module] = ' ';
	memcpy(v->bytes + n_module + 1, name, n_name);
	if (strlen(v->bytes) == v->n_bytes && known_global(m, v->bytes))
		return OK;
	for (char *p = v->bytes; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	return why_set(m->why, ERR_UNSUPPORTED,
	        "the pickle asks for \"%.100s\", which is neither a tensor nor plain data", v->bytes);
}

static enum err op_global(struct machine *m, const struct opcode *op)
{
	const unsigned char *line[2];
	size_t n[2];

	(void)op;
	for (size_t i = 0; i < 2; i++) {
		const unsigned char *newline = memchr(m->at, '\n', (size_t)(m->end - m->at));

		if (!newline)
			return why_set(m->why, ERR_FORMAT, "the pickle is cut short");
		line[i] = m->at;
		n[i] = (size_t)(newline - m->at);
		m->at = newline + 1;
	}
	return push_global(m, (const char *)line[0], n[0], (const char *)line[1], n[1]);
}

static enum err op_stack_global(struct machine *m, const struct opcode *op)
{
	struct pickle_value *module = NULL, *name = NULL;
	enum err e = machine_pop(m, &name);

	(void)op;
	if (!e)
		e = machine_pop(m, &module);
	if (e)
		return e;
	if (module->kind != PICKLE_STRING || name->kind != PICKLE_STRING)
		return why_set(m->why, ERR_FORMAT, "the pickle asks for a name that is no string");
	return push_global(m, module->bytes, module->n_bytes, name->bytes, name->n_bytes);
}

static enum err op_reduce(struct machine *m, const struct opcode *op)
{
	struct pickle_value *args = NULL, *callee = NULL, *v = NULL;
	enum err e = machine_pop(m, &args);

	(void)op;
	if (!e)
		e = machine_pop(m, &callee);
	if (e)
		return e;
	if (callee->kind != PICKLE_GLOBAL || args->kind != PICKLE_TUPLE)
		return why_set(m->why, ERR_FORMAT, "the pickle calls what is no function");
	if (pickle_is_global(callee, ORDERED_DICT)) {
		if (args->n_items)
			return why_set(
			        m->why, ERR_UNSUPPORTED, "the pickle fills an OrderedDict from a list");
		return machine_push_new(m, PICKLE_DICT, &v);
	}
	e = machine_push_new(m, PICKLE_CALL, &v);
	if (!e)
		e = pickle_value_add(v, callee);
	return e ? e : pickle_value_add(v, args);
}

/* An OrderedDict's attributes (a state_dict has _metadata): they go. */
static enum err op_build(struct machine *m, const struct opcode *op)
{
	struct pickle_value *state, *v = NULL;
	enum err e = machine_pop(m, &state);

	(void)op;
	if (!e)
		e = machine_top(m, &v);
	if (e)
		return e;
	if (v->kind != PICKLE_DICT)
		return why_set(m->why, ERR_UNSUPPORTED, "the pickle sets attributes of an object");
	return OK;
}

static enum err op_persistent(struct machine *m, const struct opcode *op)
{
	struct pickle_value *id = NULL, *v = NULL;
	enum err e = machine_pop(m, &id);

	(void)op;
	if (!e)
		e = machine_push_new(m, PICKLE_PERSISTENT, &v);
	return e ? e : pickle_value_add(v, id);
}

static const struct opcode opcodes[256] = {
        [0x80] = {op_protocol, 1, 0, 0},
        [0x95] = {op_skip, 8, 0, 0}, /* FRAME */
        ['.'] = {op_stop, 0, 0, 0},
        ['('] = {op_mark, 0, 0, 0},
        ['N'] = {op_constant, 0, PICKLE_NONE, 0},
        [0x88] = {op_constant, 0, PICKLE_BOOL, 1},
        [0x89] = {op_constant, 0, PICKLE_BOOL, 0},
        [')'] = {op_constant, 0, PICKLE_TUPLE, 0},
        [']'] = {op_constant, 0, PICKLE_LIST, 0},
        ['}'] = {op_constant, 0, PICKLE_DICT, 0},
        ['J'] = {op_int, 4, 0, 0},
        ['K'] = {op_int, 1, 0, 0},
        ['M'] = {op_int, 2, 0, 0},
        [0x8a] = {op_long, 1, 0, 0},
        [0x8b] = {op_long, 4, 0, 0},
        ['G'] = {op_float, 8, 0, 0},
        ['X'] = {op_text, 4, PICKLE_STRING, 0},
        [0x8c] = {op_text, 1, PICKLE_STRING, 0},
        [0x8d] = {op_text, 8, PICKLE_STRING, 0},
        ['U'] = {op_text, 1, PICKLE_STRING, 0}, /* Python 2's strings */
        ['T'] = {op_text, 4, PICKLE_STRING, 0},
        ['C'] = {op_text, 1, PICKLE_BYTES, 0},
        ['B'] = {op_text, 4, PICKLE_BYTES, 0},
        [0x8e] = {op_text, 8, PICKLE_BYTES, 0},
        ['t'] = {op_tuple, 0, PICKLE_TUPLE, -1},
        [0x85] = {op_tuple, 0, PICKLE_TUPLE, 1},
        [0x86] = {op_tuple, 0, PICKLE_TUPLE, 2},
        [0x87] = {op_tuple, 0, PICKLE_TUPLE, 3},
        ['a'] = {op_add, 0, PICKLE_LIST, 1},
        ['e'] = {op_add, 0, PICKLE_LIST, -1},
        ['s'] = {op_add, 0, PICKLE_DICT, 2},
        ['u'] = {op_add, 0, PICKLE_DICT, -1},
        ['q'] = {op_put, 1, 0, 0},
        ['r'] = {op_put, 4, 0, 0},
        [0x94] = {op_memoize, 0, 0, 0},
        ['h'] = {op_get, 1, 0, 0},
        ['j'] = {op_get, 4, 0, 0},
        ['c'] = {op_global, 0, 0, 0},
        [0x93] = {op_stack_global, 0, 0, 0},
        ['R'] = {op_reduce, 0, 0, 0},
        ['b'] = {op_build, 0, 0, 0},
        ['Q'] = {op_persistent, 0, 0, 0},
};

static enum err run(struct machine *m)
{
	enum err e = OK;

	while (!e && !m->stopped) {
		const unsigned char *code = NULL;

		e = machine_take(m, 1, &code);
		if (!e && !opcodes[*code].run)
			return why_set(m->why, ERR_UNSUPPORTED,
			        "the pickle has the opcode 0x%02x, not known here", *code);
		if (!e)
			e = opcodes[*code].run(m, &opcodes[*code]);
	}
	return e;
}

enum err pickle_read(const void *data, size_t n, const char *const *globals, struct pickle **out,
        size_t *used, struct why *why)
{
	struct machine m = {
	        .at = data, .end = (const unsigned char *)data + n, .globals = globals, .why = why};
	enum err e = ERR_MEM;

	m.pickle = mem_calloc(1, sizeof(*m.pickle));
	if (m.pickle)
		e = run(&m);
	mem_free(m.stack);
	mem_free(m.memo);
	if (e) {
		pickle_free(m.pickle);
		return e;
	}
	*used = (size_t)(m.at - (const unsigned char *)data);
	*out = m.pickle;
	return OK;
}
