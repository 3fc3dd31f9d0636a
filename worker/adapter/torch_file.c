/* See torch_file.h. First the pickle's tensors are described, then their storages are found, then read. */
#include "worker/adapter/torch_file.h"

#include "core/mem.h"
#include "worker/adapter/pickle.h"
#include "worker/adapter/zip_stored.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REBUILD_TENSOR "torch._utils _rebuild_tensor_v2"
#define REBUILD_PARAMETER "torch._utils _rebuild_parameter"
#define PREFIX_SIZE 256
#define ENTRY_NAME_SIZE 512
#define LEGACY_VERSION 1001

/* The pickle of PyTorch's magic number, as protocols 2 and 3 write it behind their first two bytes. */
static const unsigned char legacy_magic[] = {
        0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};
#define LEGACY_MAGIC_BYTES (2 + sizeof(legacy_magic))
static const unsigned char zip_magic[] = {'P', 'K', 3, 4};

static const struct {
	const char *name;
	enum tensor_type type;
} storages[] = {
        {"torch FloatStorage", TENSOR_F32},
        {"torch HalfStorage", TENSOR_F16},
        {"torch BFloat16Storage", TENSOR_BF16},
        {"torch DoubleStorage", TENSOR_F64},
        {"torch LongStorage", TENSOR_I64},
        {"torch IntStorage", TENSOR_I32},
        {"torch ShortStorage", TENSOR_I16},
        {"torch CharStorage", TENSOR_I8},
        {"torch ByteStorage", TENSOR_U8},
        {"torch BoolStorage", TENSOR_BOOL},
};
#define N_STORAGES (sizeof(storages) / sizeof(storages[0]))

/* A tensor as the pickle describes it: `shape` numbers at these strides of a storage. */
struct view {
	struct tensor tensor;
	const char *key; /* of the storage; borrowed from the pickle */
	size_t n_storage, offset;
	size_t strides[TENSOR_MAX_DIMS];
	size_t n_bytes;      /* of the storage */
	const char *storage; /* borrowed from the file; NULL until found */
};

struct torch_file {
	struct pickle *pickle;  /* owned: names point into it */
	struct tensor *tensors; /* owned, by name */
	void **gathered;        /* owned (n): owned copies, or NULL */
	size_t n;
};

/* While opening. */
struct opener {
	const unsigned char *data;
	size_t n_data;
	struct torch_file *file;
	struct view *views; /* owned */
	size_t n_gathered;
	struct why *why;
};

bool torch_file_is(const void *data, size_t n)
{
	const unsigned char *p = data;

	return (n >= sizeof(zip_magic) && memcmp(p, zip_magic, sizeof(zip_magic)) == 0) ||
	       (n >= LEGACY_MAGIC_BYTES && p[0] == 0x80 &&
	               memcmp(p + 2, legacy_magic, sizeof(legacy_magic)) == 0);
}

static enum err read_pickle(struct opener *o, const void *p, size_t n, struct pickle **out, size_t *used)
{
	const char *globals[N_STORAGES + 3] = {REBUILD_TENSOR, REBUILD_PARAMETER};

	for (size_t i = 0; i < N_STORAGES; i++)
		globals[2 + i] = storages[i].name;
	return pickle_read(p, n, globals, out, used, o->why);
}

/* ---- describing ---- */

/* The arguments of a call of that name, or NULL. */
static const struct pickle_value *call_args(const struct pickle_value *v, const char *name)
{
	return v && v->kind == PICKLE_CALL && pickle_is_global(v->items[0], name) ? v->items[1] : NULL;
}

static enum err bad_tensor(const struct opener *o, const struct view *view, const char *what)
{
	return why_set(o->why, ERR_FORMAT, "tensor %.200s: %s", view->tensor.name, what);
}

/* ("storage", its type, key, device, number of elements[, None]) */
static enum err describe_storage(struct opener *o, const struct pickle_value *v, struct view *view)
{
	const struct pickle_value *id = v && v->kind == PICKLE_PERSISTENT ? v->items[0] : NULL;
	const char *word = pickle_text(pickle_at(id, 0));
	const struct pickle_value *part = pickle_at(id, 5);
	size_t i = 0;

	if (!word || strcmp(word, "storage") != 0)
		return bad_tensor(o, view, "its storage is none");
	while (i < N_STORAGES && !pickle_is_global(pickle_at(id, 1), storages[i].name))
		i++;
	view->key = pickle_text(pickle_at(id, 2));
	if (i == N_STORAGES || !view->key || !pickle_size(pickle_at(id, 4), &view->n_storage) ||
	        !mem_mul(view->n_storage, tensor_type_bytes(storages[i].type), &view->n_bytes))
		return bad_tensor(o, view, "its storage is described wrongly");
	if (part && part->kind != PICKLE_NONE)
		return why_set(o->why, ERR_UNSUPPORTED, "tensor %.200s: its storage is part of another",
		        view->tensor.name);
	view->tensor.type = storages[i].type;
	return OK;
}

/* Shape and strides; the furthest number must lie in the storage. */
static enum err describe_shape(struct opener *o, const struct pickle_value *sizes,
        const struct pickle_value *strides, struct view *view)
{
	struct tensor *t = &view->tensor;
	size_t last = view->offset, step;

	if (!sizes || !strides || sizes->kind != PICKLE_TUPLE || strides->kind != PICKLE_TUPLE ||
	        sizes->n_items != strides->n_items)
		return bad_tensor(o, view, "its shape is none");
	t->n_dims = sizes->n_items;
	if (t->n_dims > TENSOR_MAX_DIMS)
		return bad_tensor(o, view, "it has too many dimensions");
	t->n_elements = 1;
	for (size_t i = 0; i < t->n_dims; i++) {
		if (!pickle_size(sizes->items[i], &t->shape[i]) ||
		        !pickle_size(strides->items[i], &view->strides[i]))
			return bad_tensor(o, view, "its shape holds what is no size");
		if (!mem_mul(t->n_elements, t->shape[i], &t->n_elements))
			return bad_tensor(o, view, "its shape's product overflows");
	}
	if (!mem_mul(t->n_elements, tensor_type_bytes(t->type), &t->n_bytes))
		return bad_tensor(o, view, "its size in bytes overflows");
	for (size_t i = 0; t->n_elements && i < t->n_dims; i++)
		if (!mem_mul(t->shape[i] - 1, view->strides[i], &step) ||
		        __builtin_add_overflow(last, step, &last))
			return bad_tensor(o, view, "its strides overflow");
	if (t->n_elements ? last >= view->n_storage : view->offset > view->n_storage)
		return bad_tensor(o, view, "it reaches beyond its storage");
	return OK;
}

static enum err describe_tensor(
        struct opener *o, const struct pickle_value *key, const struct pickle_value *v, struct view *view)
{
	const struct pickle_value *parameter = call_args(v, REBUILD_PARAMETER), *args;
	enum err e;

	view->tensor.name = pickle_text(key);
	if (!view->tensor.name)
		return why_set(o->why, ERR_UNSUPPORTED, "the dictionary has a key that is no string");
	args = call_args(parameter ? pickle_at(parameter, 0) : v, REBUILD_TENSOR);
	if (!args)
		return why_set(o->why, ERR_UNSUPPORTED, "what the dictionary holds for %.200s is no tensor",
		        view->tensor.name);
	e = describe_storage(o, pickle_at(args, 0), view);
	if (!e && !pickle_size(pickle_at(args, 1), &view->offset))
		e = bad_tensor(o, view, "its offset is none");
	return e ? e : describe_shape(o, pickle_at(args, 2), pickle_at(args, 3), view);
}

static enum err describe(struct opener *o)
{
	const struct pickle_value *root = pickle_root(o->file->pickle);
	size_t n;
	enum err e = OK;

	if (root->kind != PICKLE_DICT)
		return why_set(o->why, ERR_UNSUPPORTED, "the file holds no dictionary of tensors");
	n = root->n_items / 2;
	if (n > TORCH_FILE_MAX_TENSORS)
		return why_set(o->why, ERR_TOO_LARGE, "the file holds %zu tensors, more than %d", n,
		        TORCH_FILE_MAX_TENSORS);
	o->views = mem_calloc(n, sizeof(*o->views));
	o->file->tensors = mem_calloc(n, sizeof(*o->file->tensors));
	o->file->gathered = mem_calloc(n, sizeof(*o->file->gathered));
	if (!o->views || !o->file->tensors || !o->file->gathered)
		return ERR_MEM;
	o->file->n = n;
	for (size_t i = 0; !e && i < n; i++)
		e = describe_tensor(o, root->items[2 * i], root->items[2 * i + 1], &o->views[i]);
	return e;
}

/* ---- finding the storages: in the zip archive ---- */

/* The one entry NAME/data.pkl; what stands before "data.pkl" begins every name. */
static enum err find_archive(struct opener *o, const struct zip_stored *z, const struct zip_entry **pickle,
        char prefix[PREFIX_SIZE])
{
	static const char tail[] = "/data.pkl";
	const struct zip_entry *found = NULL;
	size_t n_tail = sizeof(tail) - 1;

	for (size_t i = 0; i < zip_stored_count(z); i++) {
		const struct zip_entry *e = zip_stored_at(z, i);
		size_t n = e->n_name;

		if (n <= n_tail || memcmp(e->name + n - n_tail, tail, n_tail) != 0 ||
		        memchr(e->name, '/', n) != e->name + n - n_tail)
			continue;
		if (found || n >= PREFIX_SIZE || memchr(e->name, '\0', n))
			return why_set(o->why, ERR_FORMAT, "the zip archive holds several data.pkl");
		found = e;
		memcpy(prefix, e->name, n - n_tail + 1);
		prefix[n - n_tail + 1] = '\0';
	}
	if (!found)
		return why_set(
		        o->why, ERR_FORMAT, "the zip archive holds no data.pkl: torch.save did not make it");
	*pickle = found;
	return OK;
}

static enum err check_byte_order(struct opener *o, const struct zip_stored *z, const char *prefix)
{
	char name[ENTRY_NAME_SIZE];
	const struct zip_entry *e;

	snprintf(name, sizeof(name), "%sbyteorder", prefix);
	e = zip_stored_find(z, name);
	if (e && (e->n_bytes != 6 || memcmp(e->data, "little", 6) != 0))
		return why_set(o->why, ERR_UNSUPPORTED, "the file comes from a big-endian machine");
	return OK;
}

static enum err find_zip_storage(
        struct opener *o, const struct zip_stored *z, const char *prefix, struct view *v)
{
	char name[ENTRY_NAME_SIZE];
	const struct zip_entry *e = NULL;

	if ((size_t)snprintf(name, sizeof(name), "%sdata/%s", prefix, v->key) < sizeof(name))
		e = zip_stored_find(z, name);
	if (!e)
		return bad_tensor(o, v, "its storage is missing");
	if (e->n_bytes != v->n_bytes)
		return why_set(o->why, ERR_FORMAT, "tensor %.200s: its storage has %zu bytes instead of %zu",
		        v->tensor.name, e->n_bytes, v->n_bytes);
	v->storage = e->data;
	return OK;
}

static enum err open_zip(struct opener *o)
{
	char prefix[PREFIX_SIZE];
	const struct zip_entry *entry = NULL;
	struct zip_stored *z = NULL;
	size_t used;
	enum err e = zip_stored_new(o->data, o->n_data, &z, o->why);

	if (!e)
		e = find_archive(o, z, &entry, prefix);
	if (!e)
		e = check_byte_order(o, z, prefix);
	if (!e)
		e = read_pickle(o, entry->data, entry->n_bytes, &o->file->pickle, &used);
	if (!e)
		e = describe(o);
	for (size_t i = 0; !e && i < o->file->n; i++)
		e = find_zip_storage(o, z, prefix, &o->views[i]);
	zip_stored_free(z);
	return e;
}

/* ---- finding the storages: in the file of pickles from before ---- */

/* Version 1001, and the machine it comes from. */
static enum err check_legacy(struct opener *o, const struct pickle *version, const struct pickle *machine)
{
	const struct pickle_value *info = pickle_root(machine);
	bool little = false;
	size_t number;

	if (!pickle_size(pickle_root(version), &number) || number != LEGACY_VERSION)
		return why_set(o->why, ERR_UNSUPPORTED, "the file is of no version of PyTorch known here");
	for (size_t i = 0; info->kind == PICKLE_DICT && i < info->n_items; i += 2) {
		const char *key = pickle_text(info->items[i]);

		if (key && strcmp(key, "little_endian") == 0)
			little = info->items[i + 1]->kind == PICKLE_BOOL && info->items[i + 1]->integer;
	}
	if (!little)
		return why_set(o->why, ERR_UNSUPPORTED, "the file comes from a big-endian machine");
	return OK;
}

/* One storage at *at: the number of its elements and their bytes. Its type is only known to the views on it.
 */
static enum err read_legacy_storage(struct opener *o, const char *key, size_t *at)
{
	const struct view *user = NULL;
	const unsigned char *p = o->data + *at;
	size_t left = o->n_data - *at;
	uint64_t n = 0;

	for (size_t i = 0; i < sizeof(n) && left >= sizeof(n); i++)
		n |= (uint64_t)p[i] << (8 * i);
	for (size_t i = 0; i < o->file->n; i++) {
		struct view *v = &o->views[i];

		if (strcmp(v->key, key) != 0)
			continue;
		if (left < sizeof(n) || n != v->n_storage || v->n_bytes > left - sizeof(n) ||
		        (user && user->n_bytes != v->n_bytes))
			return bad_tensor(o, v, "its storage has another size than announced");
		v->storage = (const char *)p + sizeof(n);
		user = v;
	}
	if (!user)
		return why_set(o->why, ERR_UNSUPPORTED, "storage %.60s belongs to no tensor", key);
	*at += sizeof(n) + user->n_bytes;
	return OK;
}

static enum err find_legacy_storages(struct opener *o, const struct pickle *keys, size_t at)
{
	const struct pickle_value *list = pickle_root(keys);
	enum err e = OK;

	if (list->kind != PICKLE_LIST || list->n_items > TORCH_FILE_MAX_TENSORS)
		return why_set(o->why, ERR_FORMAT, "the file has no list of storages");
	for (size_t i = 0; !e && i < list->n_items; i++) {
		const char *key = pickle_text(list->items[i]);

		e = key ? read_legacy_storage(o, key, &at)
		        : why_set(o->why, ERR_FORMAT, "the list of storages holds what is no key");
	}
	for (size_t i = 0; !e && i < o->file->n; i++)
		if (!o->views[i].storage)
			e = bad_tensor(o, &o->views[i], "its storage is missing");
	return e;
}

/* Magic number, version, machine, the dictionary, the list of storages: a pickle each; then the storages. */
static enum err open_legacy(struct opener *o)
{
	struct pickle *parts[4] = {NULL};
	size_t at = LEGACY_MAGIC_BYTES, used;
	enum err e = OK;

	for (size_t i = 0; !e && i < 4; i++) {
		e = read_pickle(o, o->data + at, o->n_data - at, &parts[i], &used);
		at += e ? 0 : used;
	}
	if (!e)
		e = check_legacy(o, parts[0], parts[1]);
	o->file->pickle = parts[2];
	if (!e)
		e = describe(o);
	if (!e)
		e = find_legacy_storages(o, parts[3], at);
	pickle_free(parts[0]);
	pickle_free(parts[1]);
	pickle_free(parts[3]);
	return e;
}

/* ---- reading ---- */

/* Whether the numbers lie one after the other in the order of the shape. */
static bool is_contiguous(const struct view *v)
{
	size_t step = 1;

	for (size_t i = v->tensor.n_dims; i > 0; i--) {
		if (v->tensor.shape[i - 1] != 1 && v->strides[i - 1] != step)
			return false;
		step *= v->tensor.shape[i - 1];
	}
	return true;
}

/* Copy the numbers of v in the order of the shape, counting like an odometer. */
static void gather(const struct view *v, char *out)
{
	const struct tensor *t = &v->tensor;
	size_t index[TENSOR_MAX_DIMS] = {0}, at = v->offset, width = tensor_type_bytes(t->type);

	for (size_t n = 0; n < t->n_elements; n++) {
		memcpy(out + n * width, v->storage + at * width, width);
		for (size_t d = t->n_dims; d > 0; d--) {
			at += v->strides[d - 1];
			if (++index[d - 1] < t->shape[d - 1])
				break;
			at -= index[d - 1] * v->strides[d - 1];
			index[d - 1] = 0;
		}
	}
}

static enum err read_view(struct opener *o, size_t i)
{
	const struct view *v = &o->views[i];
	struct tensor *t = &o->file->tensors[i];

	*t = v->tensor;
	t->data = v->storage + v->offset * tensor_type_bytes(t->type);
	if (!t->n_elements || is_contiguous(v))
		return OK;
	if (t->n_bytes > TORCH_FILE_MAX_GATHERED - o->n_gathered)
		return why_set(o->why, ERR_TOO_LARGE, "tensor %.200s: too large a view", t->name);
	o->n_gathered += t->n_bytes;
	o->file->gathered[i] = mem_calloc(t->n_bytes, 1);
	if (!o->file->gathered[i])
		return ERR_MEM;
	gather(v, o->file->gathered[i]);
	t->data = o->file->gathered[i];
	return OK;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

enum err torch_file_new(const void *data, size_t n, struct torch_file **out, struct why *why)
{
	struct opener o = {.data = data, .n_data = n, .why = why};
	enum err e = ERR_MEM;

	o.file = mem_calloc(1, sizeof(*o.file));
	if (!o.file)
		return e;
	if (!torch_file_is(data, n))
		e = why_set(why, ERR_FORMAT, "torch.save did not write this file");
	else
		e = o.data[0] == zip_magic[0] ? open_zip(&o) : open_legacy(&o);
	for (size_t i = 0; !e && i < o.file->n; i++)
		e = read_view(&o, i);
	mem_free(o.views);
	if (e) {
		torch_file_free(o.file);
		return e;
	}
	if (o.file->n)
		qsort(o.file->tensors, o.file->n, sizeof(*o.file->tensors), by_name);
	*out = o.file;
	return OK;
}

void torch_file_free(struct torch_file *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->n; i++)
		mem_free(f->gathered[i]);
	mem_free(f->gathered);
	mem_free(f->tensors);
	pickle_free(f->pickle);
	mem_free(f);
}

size_t torch_file_count(const struct torch_file *f)
{
	return f->n;
}

const struct tensor *torch_file_at(const struct torch_file *f, size_t i)
{
	return &f->tensors[i];
}

enum err torch_file_list(const struct torch_file *f, const struct tensor ***out)
{
	const struct tensor **list = mem_calloc(f->n, sizeof(const struct tensor *));

	if (!list)
		return ERR_MEM;
	for (size_t i = 0; i < f->n; i++)
		list[i] = &f->tensors[i];
	*out = list;
	return OK;
}
