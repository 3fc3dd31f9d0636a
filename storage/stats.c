/* How the store is doing: what its writer counts, the room on its disk, and how many jobs there are. */
#include "storage/handle.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

void store_stats(struct store *s, struct store_stats *out)
{
	struct writer_stats w;
	struct statvfs fs;

	writer_stats(s->writer, &w);
	*out = (struct store_stats){
	        .commits = w.commits,
	        .failures = w.failures,
	        .writes = w.writes,
	        .latency_sum_s = w.latency_sum_s,
	        .waiting = w.waiting,
	        .busy_ms = w.busy_ms,
	        .failing = w.failing,
	};
	memcpy(out->latency, w.latency, sizeof(out->latency));
	if (fstatvfs(s->contents.files_fd, &fs) == 0)
		out->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* The schema's version, set to what it is: the smallest write that reaches the disk. */
static enum err write_probe(struct db *db, void *arg)
{
	struct query q;
	char sql[64];
	int64_t version = 0;
	enum err err;

	(void)arg;
	query_start(&q, db, "PRAGMA user_version");
	if (query_next(&q) == OK)
		version = query_int(&q);
	err = query_end(&q);
	if (err)
		return err;
	snprintf(sql, sizeof(sql), "PRAGMA user_version = %lld", (long long)version);
	return db_exec(db, sql);
}

enum err store_probe(struct store *s)
{
	return writer_call(s->writer, write_probe, NULL);
}

enum err store_job_counts(struct store *s, int64_t counts[JOB_STATUSES])
{
	int64_t found[JOB_STATUSES] = {0};
	struct query q;
	struct db *db;
	enum err err = readers_take(&s->readers, &db);

	if (err)
		return err;
	query_start(&q, db, "SELECT status, count(*) FROM job GROUP BY status");
	while (query_next(&q) == OK) {
		char status[32];

		query_array(&q, status, sizeof(status));
		for (int i = 0; i < JOB_STATUSES; i++)
			if (strcmp(status, job_status_name((enum job_status)i)) == 0) {
				found[i] = query_int(&q);
				break;
			}
	}
	err = query_end(&q);
	readers_give(&s->readers, db);
	if (!err)
		memcpy(counts, found, sizeof(found));
	return err;
}
