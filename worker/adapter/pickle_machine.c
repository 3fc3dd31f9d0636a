/* See pickle_machine.h. */
#include "worker/adapter/pickle_machine.h"

/* ---- the stack ---- */

enum err machine_push(struct machine *m, struct pickle_value *v)
{
	enum err e;

	if (m->n_pushed++ == PICKLE_MAX_VALUES)
		return why_set(m->why, ERR_TOO_LARGE, "the pickle holds more than %zu values",
		        (size_t)PICKLE_MAX_VALUES);
	e = pickle_list_grow(&m->stack, m->n_stack, &m->cap_stack);
	if (!e)
		m->stack[m->n_stack++] = v;
	return e;
}

enum err machine_push_new(struct machine *m, enum pickle_kind kind, struct pickle_value **out)
{
	enum err e = pickle_value_new(m->pickle, kind, out);

	return e ? e : machine_push(m, *out);
}

static enum err underflow(const struct machine *m)
{
	return why_set(m->why, ERR_FORMAT, "the pickle takes from an empty stack");
}

enum err machine_top(const struct machine *m, struct pickle_value **out)
{
	if (!m->n_stack || !m->stack[m->n_stack - 1])
		return underflow(m);
	*out = m->stack[m->n_stack - 1];
	return OK;
}

enum err machine_pop(struct machine *m, struct pickle_value **out)
{
	enum err e = machine_top(m, out);

	if (!e)
		m->n_stack--;
	return e;
}

enum err machine_find(const struct machine *m, int n, size_t *first)
{
	size_t i = m->n_stack;

	while (i > 0 && m->stack[i - 1] && (n < 0 || i > m->n_stack - (size_t)n))
		i--;
	if (n >= 0 && m->n_stack - i < (size_t)n)
		return underflow(m);
	if (n < 0 && !i)
		return why_set(m->why, ERR_FORMAT, "the pickle has lost a mark");
	*first = i;
	return OK;
}

/* ---- input ---- */

enum err machine_take(struct machine *m, size_t n, const unsigned char **out)
{
	if (n > (size_t)(m->end - m->at))
		return why_set(m->why, ERR_FORMAT, "the pickle is cut short");
	*out = m->at;
	m->at += n;
	return OK;
}

enum err machine_take_number(struct machine *m, size_t width, uint64_t *out)
{
	const unsigned char *p = NULL;
	enum err e = machine_take(m, width, &p);

	*out = 0;
	for (size_t i = 0; !e && i < width; i++)
		*out |= (uint64_t)p[i] << (8 * i);
	return e;
}

enum err machine_take_counted(struct machine *m, size_t width, const unsigned char **p, size_t *n)
{
	uint64_t length = 0;
	enum err e = machine_take_number(m, width, &length);

	*n = (size_t)length;
	return e ? e : machine_take(m, *n, p);
}
