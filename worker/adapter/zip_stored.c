/* See zip_stored.h. The end record leads to the directory, the directory to each entry's local header. */
#include "worker/adapter/zip_stored.h"

#include "core/mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LOCAL_SIGNATURE 0x04034b50u
#define LOCAL_BYTES 30
#define ENTRY_SIGNATURE 0x02014b50u
#define ENTRY_BYTES 46
#define END_SIGNATURE 0x06054b50u
#define END_BYTES 22
#define END_MAX_COMMENT 65535
#define END64_SIGNATURE 0x06064b50u
#define END64_BYTES 56
#define LOCATOR_SIGNATURE 0x07064b50u
#define LOCATOR_BYTES 20
#define EXTRA_ZIP64 1
#define IN_ZIP64 UINT32_MAX
#define FLAG_ENCRYPTED 1

struct zip_stored {
	struct zip_entry *entries; /* owned, by name */
	size_t n;
};

/* While opening. */
struct directory {
	const unsigned char *file;
	size_t n_file;
	uint64_t at, n_bytes, n_entries;
};

static uint64_t number(const unsigned char *p, size_t width)
{
	uint64_t v = 0;

	for (size_t i = 0; i < width; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

/* Whether [at, at + n) lies in the file. */
static bool inside(const struct directory *d, uint64_t at, uint64_t n)
{
	return at <= d->n_file && n <= d->n_file - at;
}

/* The zip64 end record, when a locator stands before the end record. */
static enum err read_end64(struct directory *d, size_t end, struct why *why)
{
	const unsigned char *p;
	uint64_t at;

	if (end < LOCATOR_BYTES || number(d->file + end - LOCATOR_BYTES, 4) != LOCATOR_SIGNATURE)
		return OK;
	at = number(d->file + end - LOCATOR_BYTES + 8, 8);
	p = inside(d, at, END64_BYTES) ? d->file + at : NULL;
	if (!p || number(p, 4) != END64_SIGNATURE)
		return why_set(why, ERR_FORMAT, "the zip archive's zip64 record is not where it should be");
	d->n_entries = number(p + 32, 8);
	d->n_bytes = number(p + 40, 8);
	d->at = number(p + 48, 8);
	return OK;
}

/* Find the directory from the end record, which a comment may follow. */
static enum err find_directory(struct directory *d, struct why *why)
{
	enum err e;

	for (size_t back = END_BYTES; back <= d->n_file && back <= END_BYTES + END_MAX_COMMENT; back++) {
		const unsigned char *p = d->file + d->n_file - back;

		if (number(p, 4) != END_SIGNATURE || number(p + 20, 2) != back - END_BYTES)
			continue;
		d->n_entries = number(p + 10, 2);
		d->n_bytes = number(p + 12, 4);
		d->at = number(p + 16, 4);
		e = read_end64(d, d->n_file - back, why);
		if (e)
			return e;
		if (!inside(d, d->at, d->n_bytes) || d->n_entries > d->n_bytes / ENTRY_BYTES)
			return why_set(why, ERR_FORMAT, "the zip archive's directory lies outside the file");
		return OK;
	}
	return why_set(why, ERR_FORMAT, "the zip archive is cut short: its end record is missing");
}

/* Fields too large for the entry p, from its zip64 extra of n bytes at x: size, size in the archive, place.
 */
static bool read_extra(const unsigned char *x, size_t n, uint64_t *const fields[3])
{
	bool missing = *fields[0] == IN_ZIP64 || *fields[1] == IN_ZIP64 || *fields[2] == IN_ZIP64;

	for (size_t size; missing && n >= 4; x += 4 + size, n -= 4 + size) {
		size = (size_t)number(x + 2, 2);
		if (size > n - 4)
			return false;
		if (number(x, 2) != EXTRA_ZIP64)
			continue;
		for (size_t f = 0, at = 4; f < 3; f++) {
			if (*fields[f] != IN_ZIP64)
				continue;
			if (at + 8 > 4 + size)
				return false;
			*fields[f] = number(x + at, 8);
			at += 8;
		}
		return true;
	}
	return !missing;
}

/* The content behind the local header, which repeats the name. */
static enum err read_local(
        const struct directory *d, uint64_t at, uint64_t n_bytes, struct zip_entry *z, struct why *why)
{
	uint64_t n_head = LOCAL_BYTES;
	const unsigned char *p = inside(d, at, n_head) ? d->file + at : NULL;

	if (!p || number(p, 4) != LOCAL_SIGNATURE)
		return why_set(why, ERR_FORMAT, "zip entry %.*s is not where the directory says",
		        (int)z->n_name, z->name);
	n_head += number(p + 26, 2) + number(p + 28, 2);
	if (!inside(d, at, n_head) || !inside(d, at + n_head, n_bytes))
		return why_set(
		        why, ERR_FORMAT, "zip entry %.*s ends behind the file", (int)z->n_name, z->name);
	if (number(p + 26, 2) != z->n_name || memcmp(p + LOCAL_BYTES, z->name, z->n_name) != 0)
		return why_set(why, ERR_FORMAT, "zip entry %.*s has two names", (int)z->n_name, z->name);
	z->data = p + n_head;
	z->n_bytes = (size_t)n_bytes;
	return OK;
}

/* The entry at *at in the directory; *at moves on to the next. */
static enum err read_entry(const struct directory *d, uint64_t *at, struct zip_entry *z, struct why *why)
{
	const unsigned char *p = d->file + *at;
	uint64_t left = d->at + d->n_bytes - *at, n_extra, n_entry, packed, size, place;

	if (left < ENTRY_BYTES || number(p, 4) != ENTRY_SIGNATURE)
		return why_set(why, ERR_FORMAT, "the zip archive's directory is damaged");
	z->n_name = (size_t)number(p + 28, 2);
	z->name = (const char *)p + ENTRY_BYTES;
	n_extra = number(p + 30, 2);
	n_entry = ENTRY_BYTES + z->n_name + n_extra + number(p + 32, 2);
	packed = number(p + 20, 4);
	size = number(p + 24, 4);
	place = number(p + 42, 4);
	if (left < n_entry || !read_extra(p + ENTRY_BYTES + z->n_name, (size_t)n_extra,
	                              (uint64_t *const[]){&size, &packed, &place}))
		return why_set(why, ERR_FORMAT, "the zip archive's directory is damaged");
	*at += n_entry;
	if (number(p + 8, 2) & FLAG_ENCRYPTED)
		return why_set(why, ERR_UNSUPPORTED, "zip entry %.*s is encrypted", (int)z->n_name, z->name);
	if (number(p + 10, 2) != 0 || packed != size)
		return why_set(why, ERR_UNSUPPORTED,
		        "zip entry %.*s is compressed; torch.save stores it as it is", (int)z->n_name,
		        z->name);
	return read_local(d, place, size, z, why);
}

static int compare_names(const void *a, const void *b)
{
	const struct zip_entry *x = a, *y = b;
	int order = memcmp(x->name, y->name, x->n_name < y->n_name ? x->n_name : y->n_name);

	return order ? order : (x->n_name > y->n_name) - (x->n_name < y->n_name);
}

enum err zip_stored_new(const void *data, size_t n, struct zip_stored **out, struct why *why)
{
	struct zip_stored *z = mem_calloc(1, sizeof(*z));
	struct directory d = {.file = data, .n_file = n};
	enum err e = z ? find_directory(&d, why) : ERR_MEM;
	uint64_t at = d.at;

	if (e)
		goto fail;
	z->entries = mem_calloc((size_t)d.n_entries, sizeof(*z->entries));
	if (!z->entries)
		e = ERR_MEM;
	for (; !e && z->n < d.n_entries; z->n++)
		e = read_entry(&d, &at, &z->entries[z->n], why);
	if (e)
		goto fail;
	if (z->n)
		qsort(z->entries, z->n, sizeof(*z->entries), compare_names);
	*out = z;
	return OK;
fail:
	zip_stored_free(z);
	return e;
}

void zip_stored_free(struct zip_stored *z)
{
	if (!z)
		return;
	mem_free(z->entries);
	mem_free(z);
}

size_t zip_stored_count(const struct zip_stored *z)
{
	return z->n;
}

const struct zip_entry *zip_stored_at(const struct zip_stored *z, size_t i)
{
	return &z->entries[i];
}

const struct zip_entry *zip_stored_find(const struct zip_stored *z, const char *name)
{
	struct zip_entry key = {.name = name, .n_name = strlen(name)};

	return z->n ? bsearch(&key, z->entries, z->n, sizeof(key), compare_names) : NULL;
}
