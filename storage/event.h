/* Events, for other subjects of this room. On the writer. */
#ifndef REDD_STORAGE_EVENT_H
#define REDD_STORAGE_EVENT_H

#include "storage/db.h"
#include "storage/store.h"

/* Nothing happens when there is no such job, or when it has an event of the same once_key already. */
enum err event_insert(struct db *db, const char *job_id, const struct event_new *e);
/* An info message, formatted; cut at 511 bytes. */
__attribute__((format(printf, 3, 4))) enum err event_say(
        struct db *db, const char *job_id, const char *fmt, ...);

#endif
