/*
 * GET /v1/adapters/ID/content?format=folded: the checkpoint is written to a scratch file of the store, which
 * has the room for it, and sent from there. One at a time: it reads the whole base. Pool threads.
 */
#include "api/adapter_files.h"
#include "api/edge.h"
#include "worker/model/fold.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err write_folded(struct exchange *x, const char *name, int *fd, struct why *why)
{
	struct worker *w = exchange_worker(x);
	struct adapter_ref ref = {0};
	int scratch = -1;
	enum err e;

	if (!w)
		return why_set(why, ERR_BUSY, "The daemon has no base model yet.");
	e = worker_adapter_acquire(w, exchange_tenant(x)->id, name, &ref, why);
	if (e)
		return e;
	e = ref.layout ? store_scratch_open(exchange_store(x), &scratch)
	               : why_param(why, ERR_INVALID, "model", "'%.200s' is the base itself.", name);
	if (!e)
		e = model_fold(worker_model(w), ref.layout, ref.params, scratch, why);
	if (!e && lseek(scratch, 0, SEEK_SET) != 0)
		e = ERR_IO;
	if (ref.release)
		ref.release(ref.owner);
	if (e && scratch >= 0)
		close(scratch);
	if (!e)
		*fd = scratch;
	return e;
}

enum exchange_verdict adapter_reply_folded(struct exchange *x, const char *name)
{
	struct api *a = exchange_api(x);
	struct why why = {0};
	struct stat st;
	int fd = -1;
	enum err e;

	if (atomic_flag_test_and_set(&a->folding)) {
		e = why_set(&why, ERR_BUSY, "Another checkpoint is being written; try again in a moment.");
		return exchange_reply_error(x, e, &why);
	}
	e = write_folded(x, name, &fd, &why);
	atomic_flag_clear(&a->folding);
	if (!e && fstat(fd, &st) != 0) {
		close(fd);
		e = ERR_IO;
	}
	if (e)
		return exchange_reply_error(x, e, &why);
	exchange_set_header(x, "Content-Disposition", "attachment; filename=\"checkpoint.tar\"");
	return exchange_reply_fd(x, "application/x-tar", fd, (uint64_t)st.st_size);
}
