/*
 * Model directories: whole, sharded and with bare names they load to the same base; malformed ones are
 * refused with file and reason, and leave nothing behind.
 */
#include "core/buf.h"
#include "core/mem.h"
#include "tests/support/golden.h"
#include "worker/adapter/safetensors.h"
#include "worker/math/cpu.h"
#include "worker/model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
	char dir[64];
	struct buf config, weights; /* of the golden it starts from */
};

static const char *const place_files[] = {"config.json", "generation_config.json", "model.safetensors",
        "model.safetensors.index.json", "one.safetensors", "two.safetensors"};

static void write_file(const struct place *p, const char *name, const void *data, size_t n)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static void write_text(const struct place *p, const char *name, const char *text)
{
	write_file(p, name, text, strlen(text));
}

static void place_init(struct place *p, const char *family)
{
	char path[128];

	memset(p, 0, sizeof(*p));
	snprintf(p->dir, sizeof(p->dir), "/tmp/redd-model-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	snprintf(path, sizeof(path), GOLDEN_DIR "%s/config.json", family);
	assert_int_equal(buf_read_file(&p->config, path, 1 << 20), OK);
	snprintf(path, sizeof(path), GOLDEN_DIR "%s/model.safetensors", family);
	assert_int_equal(buf_read_file(&p->weights, path, 1 << 24), OK);
	write_file(p, "config.json", p->config.data, p->config.len);
}

static void place_fini(struct place *p)
{
	char path[128];

	for (size_t i = 0; i < sizeof(place_files) / sizeof(place_files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", p->dir, place_files[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(p->dir), 0);
	buf_fini(&p->config);
	buf_fini(&p->weights);
}

static void expect_refusal(const struct place *p, enum err err, const char *words)
{
	struct model *m = NULL;
	struct why why = {0};
	enum err e = model_open(p->dir, &m, &why);

	if (e != err || !strstr(why.message, words) || !strstr(why.message, p->dir))
		fail_msg("%s: \"%s\", expected \"%s\"", err_name(e), why.message, words);
	assert_null(m);
}

static void model_hash(const struct place *p, char hash[MODEL_HASH_SIZE])
{
	struct model *m;
	struct why why = {0};

	if (model_open(p->dir, &m, &why))
		fail_msg("%s", why.message);
	memcpy(hash, model_info(m)->hash, MODEL_HASH_SIZE);
	model_close(m);
}

static void test_missing_files_are_named(void **state)
{
	struct place p;

	(void)state;
	place_init(&p, "gpt2");
	expect_refusal(&p, ERR_NOT_FOUND, "model.safetensors");
	write_text(&p, "config.json", "{");
	expect_refusal(&p, ERR_FORMAT, "config.json");
	place_fini(&p);
}

static void test_truncated_and_lying_files_are_refused(void **state)
{
	struct place p;
	char *copy;

	(void)state;
	place_init(&p, "llama3");
	for (size_t n = 0; n < p.weights.len; n = n * 3 + 1) {
		write_file(&p, "model.safetensors", p.weights.data, n);
		expect_refusal(&p, ERR_FORMAT, "model.safetensors");
	}
	write_file(&p, "model.safetensors", p.weights.data, p.weights.len - 1);
	expect_refusal(&p, ERR_FORMAT, "model.safetensors");
	copy = mem_dup(p.weights.data, p.weights.len);
	memset(copy, 0xff, 8);
	write_file(&p, "model.safetensors", copy, p.weights.len);
	expect_refusal(&p, ERR_FORMAT, "model.safetensors");
	mem_free(copy);
	place_fini(&p);
}

static void test_shapes_follow_the_config(void **state)
{
	static const char narrow[] = "{\"model_type\":\"gpt2\",\"n_embd\":32,\"n_layer\":3,\"n_head\":4,"
	                             "\"n_positions\":160,\"vocab_size\":600}";
	static const char deep[] = "{\"model_type\":\"gpt2\",\"n_embd\":64,\"n_layer\":4,\"n_head\":4,"
	                           "\"n_positions\":160,\"vocab_size\":600}";
	struct place p;

	(void)state;
	place_init(&p, "gpt2");
	write_file(&p, "model.safetensors", p.weights.data, p.weights.len);
	write_text(&p, "config.json", narrow);
	expect_refusal(&p, ERR_FORMAT, "wte.weight is not shaped (600, 32)");
	write_text(&p, "config.json", deep);
	expect_refusal(&p, ERR_FORMAT, "transformer.h.3.attn.c_attn.weight is missing");
	place_fini(&p);
}

/* The tensors first .. end - 1 of s as a file of their own; `skip` is cut off the start of names that have
 * it. */
static void write_shard(const struct place *p, const char *name, const struct safetensors *s, size_t first,
        size_t end, const char *skip)
{
	struct buf header = {0}, file = {0};
	uint64_t length;
	size_t at = 0;

	assert_int_equal(buf_puts(&header, "{"), OK);
	for (size_t i = first; i < end; i++) {
		const struct tensor *t = safetensors_at(s, i);
		const char *own =
		        strncmp(t->name, skip, strlen(skip)) == 0 ? t->name + strlen(skip) : t->name;

		buf_printf(&header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i > first ? "," : "", own,
		        tensor_type_name(t->type));
		for (size_t d = 0; d < t->n_dims; d++)
			buf_printf(&header, "%s%zu", d ? "," : "", t->shape[d]);
		buf_printf(&header, "],\"data_offsets\":[%zu,%zu]}", at, at + t->n_bytes);
		at += t->n_bytes;
	}
	assert_int_equal(buf_puts(&header, "}"), OK);
	while (header.len % 8)
		assert_int_equal(buf_puts(&header, " "), OK);
	length = header.len;
	buf_append(&file, &length, sizeof(length));
	buf_append(&file, header.data, header.len);
	for (size_t i = first; i < end; i++)
		buf_append(&file, safetensors_at(s, i)->data, safetensors_at(s, i)->n_bytes);
	write_file(p, name, file.data, file.len);
	buf_fini(&header);
	buf_fini(&file);
}

static void test_shards_load_as_the_whole(void **state)
{
	char whole[MODEL_HASH_SIZE], sharded[MODEL_HASH_SIZE], path[128];
	struct buf index = {0};
	struct safetensors *s;
	struct place p;
	size_t n;

	(void)state;
	place_init(&p, "llama2");
	write_file(&p, "model.safetensors", p.weights.data, p.weights.len);
	model_hash(&p, whole);
	snprintf(path, sizeof(path), "%s/model.safetensors", p.dir);
	unlink(path);

	assert_int_equal(safetensors_new(p.weights.data, p.weights.len, &s, NULL), OK);
	n = safetensors_count(s);
	write_shard(&p, "one.safetensors", s, 0, n / 2, "");
	write_shard(&p, "two.safetensors", s, n / 2, n, "");
	buf_puts(&index, "{\"weight_map\":{");
	for (size_t i = 0; i < n; i++)
		buf_printf(&index, "%s\"%s\":\"%s.safetensors\"", i ? "," : "", safetensors_at(s, i)->name,
		        i < n / 2 ? "one" : "two");
	buf_puts(&index, "}}");
	write_file(&p, "model.safetensors.index.json", index.data, index.len);
	model_hash(&p, sharded);
	assert_string_equal(whole, sharded);

	write_text(&p, "model.safetensors.index.json", "{\"weight_map\":{\"a\":\"../x\"}}");
	expect_refusal(&p, ERR_FORMAT, "not a file name");
	write_text(&p, "model.safetensors.index.json", "{\"weight_map\":{\"a\":\"three.safetensors\"}}");
	expect_refusal(&p, ERR_NOT_FOUND, "three.safetensors");
	write_text(&p, "model.safetensors.index.json", "{}");
	expect_refusal(&p, ERR_FORMAT, "weight_map");
	safetensors_free(s);
	buf_fini(&index);
	place_fini(&p);
}

static void test_names_without_the_prefix_load_too(void **state)
{
	char whole[MODEL_HASH_SIZE], bare[MODEL_HASH_SIZE];
	struct safetensors *s;
	struct place p;

	(void)state;
	place_init(&p, "gpt2");
	write_file(&p, "model.safetensors", p.weights.data, p.weights.len);
	model_hash(&p, whole);
	assert_int_equal(safetensors_new(p.weights.data, p.weights.len, &s, NULL), OK);
	write_shard(&p, "model.safetensors", s, 0, safetensors_count(s), "transformer.");
	model_hash(&p, bare);
	assert_string_equal(whole, bare);
	safetensors_free(s);
	place_fini(&p);
}

static void test_the_fingerprint_follows_weights_and_architecture(void **state)
{
	char before[MODEL_HASH_SIZE], after[MODEL_HASH_SIZE];
	struct place p;

	(void)state;
	place_init(&p, "llama3");
	write_file(&p, "model.safetensors", p.weights.data, p.weights.len);
	model_hash(&p, before);
	p.weights.data[p.weights.len - 1] ^= 1;
	write_file(&p, "model.safetensors", p.weights.data, p.weights.len);
	model_hash(&p, after);
	assert_string_not_equal(before, after);
	p.weights.data[p.weights.len - 1] ^= 1;
	write_file(&p, "model.safetensors", p.weights.data, p.weights.len);
	memcpy(strstr(p.config.data, "500000"), "400000", 6);
	write_file(&p, "config.json", p.config.data, p.config.len);
	model_hash(&p, after);
	assert_string_not_equal(before, after);
	place_fini(&p);
}

static void test_running_out_of_memory_leaves_nothing_behind(void **state)
{
	struct place p;
	struct model *m = NULL;
	enum err e = ERR_MEM;

	(void)state;
	place_init(&p, "gpt2");
	write_file(&p, "model.safetensors", p.weights.data, p.weights.len);
	for (long n = 1; e; n++) {
		mem_fail_at(n);
		e = model_open(p.dir, &m, NULL);
		mem_fail_at(0);
		assert_true(e == OK || e == ERR_MEM);
		assert_true(n < 10000);
	}
	model_close(m);
	place_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_missing_files_are_named),
	        cmocka_unit_test(test_truncated_and_lying_files_are_refused),
	        cmocka_unit_test(test_shapes_follow_the_config),
	        cmocka_unit_test(test_shards_load_as_the_whole),
	        cmocka_unit_test(test_names_without_the_prefix_load_too),
	        cmocka_unit_test(test_the_fingerprint_follows_weights_and_architecture),
	        cmocka_unit_test(test_running_out_of_memory_leaves_nothing_behind),
	};

	cpu_init(CPU_BEST);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
