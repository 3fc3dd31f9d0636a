/*
 * See job_terms.h. A set-associative table; who has been longest unused makes room. As in auth.c, generations
 * keep what was read before a deletion from being kept after it.
 */
#include "api/job_terms.h"

#include "api/wire.h"
#include "core/hash.h"
#include "core/mem.h"

#include <pthread.h>
#include <string.h>

#define WAYS 8
#define SETS (JOB_TERMS_MAX / WAYS)

struct terms {
	char job_id[STORE_ID_SIZE]; /* "" = free */
	char tenant_id[STORE_ID_SIZE];
	char *spec, *metadata; /* owned: what text was made of; metadata NULL = none */
	char *text;            /* owned */
	size_t n_text;
	char suffix[JOB_SUFFIX_SIZE];
	uint64_t last_use;
};

struct job_terms {
	pthread_mutex_t lock;
	/* under lock */
	uint64_t generation, n_uses;
	struct terms table[SETS][WAYS];
};

enum err job_terms_new(struct job_terms **out)
{
	struct job_terms *c = mem_calloc(1, sizeof(*c));

	if (!c)
		return ERR_MEM;
	pthread_mutex_init(&c->lock, NULL);
	*out = c;
	return OK;
}

static void terms_fini(struct terms *k)
{
	mem_free(k->spec);
	mem_free(k->metadata);
	mem_free(k->text);
	*k = (struct terms){0};
}

void job_terms_free(struct job_terms *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < JOB_TERMS_MAX; i++)
		terms_fini(&c->table[i / WAYS][i % WAYS]);
	pthread_mutex_destroy(&c->lock);
	mem_free(c);
}

/* ---- the table; under lock ---- */

static struct terms *set_of(struct job_terms *c, const char *job_id)
{
	uint64_t h = hash_table(HASH_TABLE_BEGIN, job_id, strlen(job_id));

	return c->table[hash_table_end(h) % SETS];
}

/* The place of a job's terms, or the one of its set to be given up for them. */
static struct terms *place_of(struct job_terms *c, const char *job_id)
{
	struct terms *set = set_of(c, job_id), *best = set;

	for (struct terms *k = set; k < set + WAYS; k++) {
		if (!strcmp(k->job_id, job_id))
			return k;
		if (k->last_use < best->last_use)
			best = k;
	}
	return best;
}

static bool same(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool made_of(const struct terms *k, const struct job *j)
{
	return !strcmp(k->job_id, j->id) && !strcmp(k->tenant_id, j->tenant_id) && same(k->spec, j->spec) &&
	       same(k->metadata, j->metadata);
}

/* ---- making and keeping ---- */

/* spec NULL: it cannot be read, and shows as none. */
static void write_spec(const struct job_spec *spec, struct json_text *t, char suffix[JOB_SUFFIX_SIZE])
{
	struct json_text hyper = {0};

	suffix[0] = '\0';
	if (!spec) {
		json_text_tree(t, "hyperparameters", json_object());
		json_text_null(t, "method");
		return;
	}
	memcpy(suffix, spec->suffix, JOB_SUFFIX_SIZE);
	json_text_int(t, "seed", (int64_t)spec->seed);
	json_text_string(t, "user_provided_suffix", spec->suffix[0] ? spec->suffix : NULL);
	json_text_tree(&hyper, NULL, job_spec_hyperparameters(spec));
	json_text_raw(t, "hyperparameters", hyper.buf.data, hyper.buf.len);
	json_text_open(t, "method", '{');
	json_text_string(t, "type", "supervised");
	json_text_open(t, "supervised", '{');
	json_text_raw(t, "hyperparameters", hyper.buf.data, hyper.buf.len);
	json_text_close(t, '}');
	json_text_close(t, '}');
	json_text_tree(t, "adapter", adapter_spec_json(&spec->adapter));
	if (hyper.err)
		t->err = hyper.err;
	buf_fini(&hyper.buf);
}

/* Copies of it all into *out; false when memory is short, or it is too much. */
static bool terms_copy(
        const struct job *j, const char *text, size_t n_text, const char *suffix, struct terms *out)
{
	struct terms k = {.n_text = n_text};

	if (n_text + strlen(j->spec) + (j->metadata ? strlen(j->metadata) : 0) > JOB_TERMS_MAX_BYTES)
		return false;
	memcpy(k.job_id, j->id, sizeof(k.job_id));
	memcpy(k.tenant_id, j->tenant_id, sizeof(k.tenant_id));
	memcpy(k.suffix, suffix, sizeof(k.suffix));
	k.spec = mem_strdup(j->spec);
	k.metadata = mem_strdup(j->metadata);
	k.text = mem_dup(text, n_text);
	if (!k.spec || !k.text || (j->metadata && !k.metadata)) {
		terms_fini(&k);
		return false;
	}
	*out = k;
	return true;
}

static void keep(struct job_terms *c, uint64_t moment, const struct job *j, const struct json_text *t,
        const char *suffix)
{
	struct terms fresh, *place;

	if (t->err || !terms_copy(j, t->buf.data, t->buf.len, suffix, &fresh))
		return;
	pthread_mutex_lock(&c->lock);
	if (c->generation == moment) {
		struct terms former;

		place = place_of(c, j->id);
		former = *place;
		*place = fresh;
		place->last_use = ++c->n_uses;
		fresh = former;
	}
	pthread_mutex_unlock(&c->lock);
	terms_fini(&fresh);
}

static bool write_kept(
        struct job_terms *c, const struct job *j, struct json_text *t, char suffix[JOB_SUFFIX_SIZE])
{
	struct terms *k;
	bool found;

	pthread_mutex_lock(&c->lock);
	k = place_of(c, j->id);
	found = made_of(k, j);
	if (found) {
		json_text_raw(t, NULL, k->text, k->n_text);
		memcpy(suffix, k->suffix, JOB_SUFFIX_SIZE);
		k->last_use = ++c->n_uses;
	}
	pthread_mutex_unlock(&c->lock);
	return found;
}

uint64_t job_terms_moment(struct job_terms *c)
{
	uint64_t moment;

	pthread_mutex_lock(&c->lock);
	moment = c->generation;
	pthread_mutex_unlock(&c->lock);
	return moment;
}

void job_terms_write(struct job_terms *c, uint64_t moment, const struct job *j, const struct job_spec *spec,
        struct json_text *t, char suffix[JOB_SUFFIX_SIZE])
{
	struct json_text fresh = {0};
	struct job_spec decoded;
	json_t *metadata;

	if (write_kept(c, j, t, suffix))
		return;
	if (!spec && j->spec && !job_spec_decode(j->spec, &decoded))
		spec = &decoded;
	metadata = wire_parsed(j->metadata);
	write_spec(spec, &fresh, suffix);
	json_text_tree(&fresh, "metadata", json_incref(metadata));
	/* What cannot be read may want nothing but memory: the next may be luckier. */
	if (spec && (!j->metadata || !json_is_null(metadata)))
		keep(c, moment, j, &fresh, suffix);
	json_decref(metadata);
	if (fresh.err)
		t->err = fresh.err;
	else
		json_text_raw(t, NULL, fresh.buf.data, fresh.buf.len);
	buf_fini(&fresh.buf);
}

void job_terms_forget(struct job_terms *c, const char *tenant_id)
{
	pthread_mutex_lock(&c->lock);
	c->generation++;
	for (size_t i = 0; i < JOB_TERMS_MAX; i++) {
		struct terms *k = &c->table[i / WAYS][i % WAYS];

		if (!strcmp(k->tenant_id, tenant_id))
			terms_fini(k);
	}
	pthread_mutex_unlock(&c->lock);
}

size_t job_terms_count(struct job_terms *c)
{
	size_t n = 0;

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < JOB_TERMS_MAX; i++)
		n += c->table[i / WAYS][i % WAYS].job_id[0] != '\0';
	pthread_mutex_unlock(&c->lock);
	return n;
}
