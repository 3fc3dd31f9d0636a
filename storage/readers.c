/* See readers.h. */
#include "storage/readers.h"

#include "core/mem.h"

enum err readers_init(struct readers *r, const char *path)
{
	*r = (struct readers){.lock = PTHREAD_MUTEX_INITIALIZER, .returned = PTHREAD_COND_INITIALIZER};
	r->path = mem_strdup(path);
	return r->path ? OK : ERR_MEM;
}

void readers_fini(struct readers *r)
{
	for (size_t i = 0; i < r->n_idle; i++)
		db_close(r->idle[i]);
	mem_free(r->path);
	*r = (struct readers){0};
}

enum err readers_take(struct readers *r, struct db **out)
{
	struct db *db = NULL;
	enum err err;

	pthread_mutex_lock(&r->lock);
	while (!r->n_idle && r->n_open == READERS_MAX)
		pthread_cond_wait(&r->returned, &r->lock);
	if (r->n_idle)
		db = r->idle[--r->n_idle];
	else
		r->n_open++;
	pthread_mutex_unlock(&r->lock);
	if (db) {
		*out = db;
		return OK;
	}
	err = db_open(r->path, DB_READ, out, NULL);
	if (err) {
		pthread_mutex_lock(&r->lock);
		r->n_open--;
		pthread_cond_signal(&r->returned);
		pthread_mutex_unlock(&r->lock);
	}
	return err;
}

/* One that could not end its transaction would see for ever what it sees now. */
void readers_give(struct readers *r, struct db *db)
{
	bool usable = !db_in_transaction(db);

	if (!usable)
		db_close(db);
	pthread_mutex_lock(&r->lock);
	if (usable)
		r->idle[r->n_idle++] = db;
	else
		r->n_open--;
	pthread_cond_signal(&r->returned);
	pthread_mutex_unlock(&r->lock);
}
