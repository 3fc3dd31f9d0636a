/* Pickles, opcode by opcode: what is read, what is refused, and that nothing is ever run. */
#include "core/mem.h"
#include "worker/adapter/pickle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after what it needs */
#include <cmocka.h>

static const char *const globals[] = {"torch FloatStorage", NULL};

#define READ(text) read_good(text, sizeof(text) - 1)

static struct pickle *read_good(const char *text, size_t n)
{
	struct pickle *p = NULL;
	struct why why = {0};
	size_t used = 0;

	if (pickle_read(text, n, globals, &p, &used, &why))
		fail_msg("%s", why.message);
	assert_int_equal(used, n);
	return p;
}

#define REFUSED(text, e, words) assert_refused(text, sizeof(text) - 1, e, words)

static void assert_refused(const char *text, size_t n, enum err expected, const char *words)
{
	struct pickle *p = NULL;
	struct why why = {0};
	size_t used = 77;

	assert_int_equal(pickle_read(text, n, globals, &p, &used, &why), expected);
	assert_null(p);
	assert_int_equal(used, 77);
	if (!strstr(why.message, words))
		fail_msg("\"%s\" does not say \"%s\"", why.message, words);
}

static void assert_int(const char *text, size_t n, int64_t expected)
{
	struct pickle *p = read_good(text, n);

	assert_int_equal(pickle_root(p)->kind, PICKLE_INT);
	assert_true(pickle_root(p)->integer == expected);
	pickle_free(p);
}

#define INT(text, expected) assert_int(text, sizeof(text) - 1, expected)

static void test_integers_of_every_width(void **state)
{
	(void)state;
	INT("K\xff.", 255);
	INT("M\x01\x02.", 513);
	INT("J\xff\xff\xff\xff.", -1);
	INT("J\0\0\0\x80.", INT32_MIN);
	INT("\x8a\0.", 0);
	INT("\x8a\x01\x80.", -128);
	INT("\x8a\x02\xff\x00.", 255);
	INT("\x8a\x08\0\0\0\0\0\0\0\x80.", INT64_MIN);
	INT("\x8b\x01\0\0\0\x07.", 7);
	REFUSED("\x8a\x09\1\1\1\1\1\1\1\1\1.", ERR_UNSUPPORTED, "9 bytes");
}

static void test_plain_values(void **state)
{
	struct pickle *p = READ("\x80\x02(NG?\xf8\0\0\0\0\0\0\x88X\x03\0\0\0a\0b"
	                        "\x8c\x02hit.");
	const struct pickle_value *v = pickle_root(p);
	size_t n;

	(void)state;
	assert_int_equal(v->kind, PICKLE_TUPLE);
	assert_int_equal(v->n_items, 5);
	assert_int_equal(pickle_at(v, 0)->kind, PICKLE_NONE);
	assert_true(pickle_at(v, 1)->kind == PICKLE_FLOAT && pickle_at(v, 1)->real == 1.5);
	assert_true(pickle_at(v, 2)->kind == PICKLE_BOOL && pickle_at(v, 2)->integer == 1);
	assert_int_equal(pickle_at(v, 3)->n_bytes, 3);
	assert_null(pickle_text(pickle_at(v, 3))); /* a NUL inside */
	assert_string_equal(pickle_text(pickle_at(v, 4)), "hi");
	assert_null(pickle_at(v, 5));
	assert_null(pickle_at(pickle_at(v, 0), 0));
	assert_false(pickle_size(pickle_at(v, 1), &n));
	pickle_free(p);
}

static void test_containers_share_what_the_memo_holds(void **state)
{
	/* {"k": [1, (2,)], "l": the same list} */
	struct pickle *p = READ("}(X\1\0\0\0k]q\0(K\1K\2\x85"
	                        "eX\1\0\0\0lh\0u.");
	const struct pickle_value *v = pickle_root(p);

	(void)state;
	assert_int_equal(v->kind, PICKLE_DICT);
	assert_int_equal(v->n_items, 4);
	assert_ptr_equal(v->items[1], v->items[3]);
	assert_int_equal(v->items[1]->n_items, 2);
	assert_int_equal(pickle_at(pickle_at(v->items[1], 1), 0)->integer, 2);
	pickle_free(p);
	p = READ("]\x94h\0a."); /* a list that holds itself */
	assert_ptr_equal(pickle_at(pickle_root(p), 0), pickle_root(p));
	pickle_free(p);
}

static void test_names_and_calls_stay_words(void **state)
{
	struct pickle *p = READ("ctorch\nFloatStorage\nK\1\x85RQ.");
	const struct pickle_value *v = pickle_root(p);

	(void)state;
	assert_int_equal(v->kind, PICKLE_PERSISTENT);
	assert_int_equal(v->items[0]->kind, PICKLE_CALL);
	assert_true(pickle_is_global(v->items[0]->items[0], "torch FloatStorage"));
	assert_int_equal(pickle_at(v->items[0]->items[1], 0)->integer, 1);
	pickle_free(p);
	p = READ("\x80\x04\x8c\x0b"
	         "collections\x8c\x0bOrderedDict\x93)R(\x8c\1aK\1u}b.");
	assert_int_equal(pickle_root(p)->kind, PICKLE_DICT);
	assert_int_equal(pickle_root(p)->n_items, 2);
	pickle_free(p);
}

static void test_every_other_name_is_refused(void **state)
{
	(void)state;
	REFUSED("cos\nsystem\nX\4\0\0\0true\x85R.", ERR_UNSUPPORTED, "\"os system\"");
	REFUSED("\x80\x04\x8c\x08"
	        "builtins\x8c\x04"
	        "eval\x93.",
	        ERR_UNSUPPORTED, "\"builtins eval\"");
	REFUSED("ctorch\nFloatStorage2\n.", ERR_UNSUPPORTED, "FloatStorage2");
	REFUSED("\x8c\x05torch\x8c\x0d"
	        "FloatStorage\0\x93.",
	        ERR_UNSUPPORTED, "torch FloatStorage");
	REFUSED("cos\n\x1b[2J\n.", ERR_UNSUPPORTED, "?[2J");
	REFUSED("ios\nsystem\n.", ERR_UNSUPPORTED, "0x69");               /* INST */
	REFUSED("(ctorch\nFloatStorage\no.", ERR_UNSUPPORTED, "0x6f");    /* OBJ */
	REFUSED("ctorch\nFloatStorage\n)\x81.", ERR_UNSUPPORTED, "0x81"); /* NEWOBJ */
	REFUSED("ctorch\nFloatStorage\n)R}b.", ERR_UNSUPPORTED, "attributes");
	REFUSED("X\1\0\0\0a)R.", ERR_FORMAT, "no function");
	REFUSED("ccollections\nOrderedDict\n]\x85R.", ERR_UNSUPPORTED, "OrderedDict");
}

static void test_a_machine_out_of_step_is_refused(void **state)
{
	(void)state;
	REFUSED("", ERR_FORMAT, "cut short");
	REFUSED("N", ERR_FORMAT, "cut short");
	REFUSED(".", ERR_FORMAT, "empty stack");
	REFUSED("(.", ERR_FORMAT, "empty stack");
	REFUSED("t.", ERR_FORMAT, "mark");
	REFUSED("N\x86.", ERR_FORMAT, "empty stack");
	REFUSED("N(N\x86.", ERR_FORMAT, "empty stack");
	REFUSED("NNa.", ERR_FORMAT, "no list");
	REFUSED("]NNs.", ERR_FORMAT, "no dictionary");
	REFUSED("}(Nu.", ERR_FORMAT, "key without a value");
	REFUSED("h\0.", ERR_FORMAT, "nothing at 0");
	REFUSED("Nq\1.", ERR_FORMAT, "hole");
	REFUSED("q\0.", ERR_FORMAT, "empty stack");
	REFUSED("X\xff\xff\xff\xff"
	        "a.",
	        ERR_FORMAT, "cut short");
	REFUSED("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
	        "a.",
	        ERR_FORMAT, "cut short");
	REFUSED("\x80\x06N.", ERR_UNSUPPORTED, "protocol 6");
	REFUSED("cos", ERR_FORMAT, "cut short");
}

/* n bytes `c` between `before` and `after`. */
static void assert_too_large(const char *before, char c, const char *after, const char *words)
{
	size_t n = PICKLE_MAX_VALUES + 1, at = strlen(before);
	char *text = mem_calloc(n + at + strlen(after), 1);

	assert_non_null(text);
	memcpy(text, before, at);
	memset(text + at, c, n);
	memcpy(text + at + n, after, strlen(after));
	assert_refused(text, n + at + strlen(after), ERR_TOO_LARGE, words);
	mem_free(text);
}

static void test_what_grows_has_a_limit(void **state)
{
	(void)state;
	assert_too_large("(", 'N', "t.", "values");
	assert_too_large("", '(', ".", "values");
	assert_too_large("", ']', ".", "values");
	assert_too_large("N", '\x94', ".", "remembers");
}

static void test_deep_nesting_is_only_long(void **state)
{
	enum { DEPTH = 100000 };
	char *text = mem_calloc(DEPTH + 2, 1);
	struct pickle *p;

	(void)state;
	assert_non_null(text);
	text[0] = 'N';
	memset(text + 1, '\x85', DEPTH); /* (((...,),),) */
	text[DEPTH + 1] = '.';
	p = read_good(text, DEPTH + 2);
	assert_int_equal(pickle_root(p)->kind, PICKLE_TUPLE);
	pickle_free(p);
	mem_free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_integers_of_every_width),
	        cmocka_unit_test(test_plain_values),
	        cmocka_unit_test(test_containers_share_what_the_memo_holds),
	        cmocka_unit_test(test_names_and_calls_stay_words),
	        cmocka_unit_test(test_every_other_name_is_refused),
	        cmocka_unit_test(test_a_machine_out_of_step_is_refused),
	        cmocka_unit_test(test_what_grows_has_a_limit),
	        cmocka_unit_test(test_deep_nesting_is_only_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
