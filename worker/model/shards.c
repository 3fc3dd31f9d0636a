/* See shards.h. */
#include "worker/model/shards.h"

#include "core/buf.h"
#include "core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX_MAX_BYTES ((size_t)64 << 20)
#define MAX_SHARDS 1024

struct shard {
	char *name; /* owned: the file's name */
	void *data; /* owned: the mapping */
	size_t size;
	struct safetensors *tensors; /* owned */
};

struct shards {
	struct shard *items; /* owned (MAX_SHARDS) */
	size_t n;
};

/* While opening. */
struct opener {
	const char *dir;
	struct shards *shards;
	struct why *why;
};

static void shard_fini(struct shard *s)
{
	safetensors_free(s->tensors);
	if (s->data)
		munmap(s->data, s->size);
	mem_free(s->name);
}

static enum err shard_map(const char *path, struct shard *s, struct why *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *data;

	if (fd < 0)
		return why_set(why, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s", strerror(errno));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size <= 0) {
		close(fd);
		return why_set(why, ERR_FORMAT, "not a regular file with content");
	}
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (data == MAP_FAILED)
		return why_set(why, ERR_IO, "cannot be mapped: %s", strerror(errno));
	s->data = data;
	s->size = (size_t)st.st_size;
	return OK;
}

static enum err shard_open(struct opener *o, const char *name)
{
	struct shard *s = &o->shards->items[o->shards->n++];
	char *path = mem_printf("%s/%s", o->dir, name);
	enum err e;

	s->name = mem_strdup(name);
	if (!path || !s->name) {
		mem_free(path);
		return ERR_MEM;
	}
	e = shard_map(path, s, o->why);
	if (!e)
		e = safetensors_new(s->data, s->size, &s->tensors, o->why);
	if (e && e != ERR_MEM)
		why_prefix(o->why, "%s: ", path);
	mem_free(path);
	return e;
}

static bool shard_known(const struct shards *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->items[i].name, name) == 0)
			return true;
	return false;
}

static enum err index_open_shards(struct opener *o, const char *path, const json_t *map)
{
	const char *key;
	json_t *value;
	enum err e;

	json_object_foreach ((json_t *)map, key, value) {
		const char *file = json_string_value(value);

		if (!file || !*file || strchr(file, '/'))
			return why_set(
			        o->why, ERR_FORMAT, "%s: weight_map of %.80s is not a file name", path, key);
		if (shard_known(o->shards, file))
			continue;
		if (o->shards->n == MAX_SHARDS)
			return why_set(o->why, ERR_UNSUPPORTED, "%s: more than %d shards", path, MAX_SHARDS);
		e = shard_open(o, file);
		if (e)
			return e;
	}
	if (!o->shards->n)
		return why_set(o->why, ERR_FORMAT, "%s: weight_map is empty", path);
	return OK;
}

static enum err index_open(struct opener *o, const char *path)
{
	struct buf text = {0};
	json_error_t error;
	json_t *index = NULL;
	enum err e = buf_read_file(&text, path, INDEX_MAX_BYTES);

	if (e) {
		why_set(o->why, e, "%s holds neither model.safetensors nor model.safetensors.index.json",
		        o->dir);
		goto fail;
	}
	index = json_loadb(text.data, text.len, 0, &error);
	if (!index) {
		e = why_set(o->why, ERR_FORMAT, "%s: line %d: %s", path, error.line, error.text);
		goto fail;
	}
	if (!json_is_object(json_object_get(index, "weight_map"))) {
		e = why_set(o->why, ERR_FORMAT, "%s: weight_map is missing or no object", path);
		goto fail;
	}
	e = index_open_shards(o, path, json_object_get(index, "weight_map"));
fail:
	json_decref(index);
	buf_fini(&text);
	return e;
}

static enum err files_open(struct opener *o)
{
	char *single = mem_printf("%s/model.safetensors", o->dir);
	char *index = mem_printf("%s/model.safetensors.index.json", o->dir);
	enum err e = ERR_MEM;

	if (single && index)
		e = access(single, F_OK) == 0 ? shard_open(o, "model.safetensors") : index_open(o, index);
	mem_free(single);
	mem_free(index);
	return e;
}

enum err shards_open(const char *dir, struct shards **out, struct why *why)
{
	struct opener o = {.dir = dir, .shards = mem_calloc(1, sizeof(*o.shards)), .why = why};
	enum err e = ERR_MEM;

	if (!o.shards)
		return e;
	o.shards->items = mem_calloc(MAX_SHARDS, sizeof(*o.shards->items));
	if (o.shards->items)
		e = files_open(&o);
	if (e) {
		shards_close(o.shards);
		return e;
	}
	*out = o.shards;
	return OK;
}

void shards_close(struct shards *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++)
		shard_fini(&s->items[i]);
	mem_free(s->items);
	mem_free(s);
}

const struct tensor *shards_find(const struct shards *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct tensor *t = safetensors_find(s->items[i].tensors, name);

		if (t)
			return t;
	}
	return NULL;
}

/* Whole pages alone: the neighbours' ends are in use. */
void shards_forget(const struct tensor *t)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t begin = ((uintptr_t)t->data + page - 1) / page * page;
	uintptr_t end = ((uintptr_t)t->data + t->n_bytes) / page * page;

	if (begin < end)
		(void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

size_t shards_count(const struct shards *s)
{
	return s->n;
}

const struct safetensors *shards_at(const struct shards *s, size_t i)
{
	return s->items[i].tensors;
}
