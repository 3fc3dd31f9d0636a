/* Deliveries to webhooks, for other subjects of this room. On the writer. */
#ifndef REDD_STORAGE_WEBHOOK_H
#define REDD_STORAGE_WEBHOOK_H

#include "storage/db.h"
#include "storage/store.h"

/* The job has ended so: due at once to all webhooks of its tenant that want to know. */
enum err delivery_insert(struct db *db, const struct job *job, enum job_status ended);

#endif
