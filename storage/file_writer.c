/* Streaming a content in. It lives under a name in DIR/tmp until its commit; see contents.h. */
#include "core/hash.h"
#include "core/mem.h"
#include "storage/file.h"
#include "storage/handle.h"

#include <string.h>
#include <unistd.h>

struct file_writer {
	struct store *store; /* borrowed */
	int fd;
	char name[STORE_ID_SIZE]; /* in DIR/tmp; "" once it is gone from there */
	int64_t bytes;
	int64_t max_total; /* of all files of the tenant; <= 0 = no limit */
	struct hash hash;
	enum err err; /* of a write that failed: nothing can be committed then */
};

enum err store_file_begin(struct store *s, struct file_writer **out)
{
	struct file_writer *w = mem_calloc(1, sizeof(*w));
	enum err err;

	if (!w)
		return ERR_MEM;
	w->store = s;
	hash_init(&w->hash);
	err = contents_create(&s->contents, w->name, &w->fd);
	if (err)
		mem_free(w);
	else
		*out = w;
	return err;
}

enum err file_writer_write(struct file_writer *w, const void *p, size_t n)
{
	if (!w->err)
		w->err = contents_write(w->fd, p, n);
	if (w->err)
		return w->err;
	hash_update(&w->hash, p, n);
	w->bytes += (int64_t)n;
	return OK;
}

int64_t file_writer_bytes(const struct file_writer *w)
{
	return w->bytes;
}

void file_writer_limit(struct file_writer *w, int64_t max)
{
	w->max_total = max;
}

void file_writer_abort(struct file_writer *w)
{
	if (!w)
		return;
	if (w->name[0])
		contents_discard(&w->store->contents, w->name);
	close(w->fd);
	mem_free(w);
}

struct file_commit {
	const struct file *file;
	int64_t max_total;
	bool inserted;
};

static enum err write_commit(struct db *db, void *arg)
{
	struct file_commit *c = arg;
	int64_t sum = 0;
	enum err err = c->max_total > 0 ? file_sum(db, c->file->tenant_id, &sum) : OK;

	if (!err && c->max_total > 0 && c->file->bytes > c->max_total - sum)
		err = ERR_LIMIT;
	if (!err)
		err = file_insert(db, c->file);
	c->inserted = !err;
	return err;
}

/* The row of a content that is in place. A commit that failed may yet be found done after a crash, so the
 * content stays then: the next open sweeps it if its row is not there. */
static enum err file_add_row(struct store *s, const struct file *f, int64_t max_total)
{
	struct file_commit c = {.file = f, .max_total = max_total};
	enum err err = writer_call(s->writer, write_commit, &c);

	if (err && !c.inserted)
		(void)contents_remove(&s->contents, f->id);
	return err;
}

enum err file_writer_commit(struct file_writer *w, const char *tenant_id, const char *filename,
        const char *purpose, int64_t expires_at, struct file *out)
{
	struct file f = {.bytes = w->bytes, .created_at = store_now(), .expires_at = expires_at};
	uint8_t digest[HASH_BYTES];
	enum err err = w->err;

	if (err)
		goto fail;
	err = ERR_NOT_FOUND;
	if (!text_fits(tenant_id, sizeof(f.tenant_id)))
		goto fail;
	memcpy(f.tenant_id, tenant_id, strlen(tenant_id) + 1);
	hash_final(&w->hash, digest);
	hash_hex(digest, f.sha256);
	err = ERR_MEM;
	f.filename = mem_strdup(filename);
	f.purpose = mem_strdup(purpose);
	if (!f.filename || !f.purpose)
		goto fail;
	err = random_id("file-", STORE_ID_CHARS, f.id);
	if (err)
		goto fail;
	err = contents_publish(&w->store->contents, w->name, w->fd, f.id);
	if (err)
		goto fail;
	w->name[0] = '\0';
	err = file_add_row(w->store, &f, w->max_total);
	if (err)
		goto fail;
	file_writer_abort(w);
	*out = f;
	return OK;
fail:
	file_writer_abort(w);
	file_fini(&f);
	return err;
}

enum err store_scratch_open(struct store *s, int *fd)
{
	char name[STORE_ID_SIZE];
	enum err err = contents_create(&s->contents, name, fd);

	if (!err)
		contents_discard(&s->contents, name);
	return err;
}
