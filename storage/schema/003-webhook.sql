-- Where a tenant wants to be told how its jobs end, and what has not been told yet. What is due was written by
-- the transaction that ended the job, so no crash loses it. The secrets sign, so they cannot be hashes. Times
-- are unix seconds, but due_at, which is milliseconds.

CREATE TABLE webhook (
	seq INTEGER PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL UNIQUE,
	tenant_id TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
	name TEXT NOT NULL,
	url TEXT NOT NULL,
	event_types TEXT NOT NULL, -- each between blanks: " fine_tuning.job.failed fine_tuning.job.succeeded "
	secret TEXT NOT NULL,
	old_secret TEXT NOT NULL DEFAULT '', -- signs too, until old_until
	old_until INTEGER NOT NULL DEFAULT 0,
	created_at INTEGER NOT NULL,
	updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX webhook_tenant ON webhook (tenant_id);

CREATE TABLE delivery (
	seq INTEGER PRIMARY KEY AUTOINCREMENT,
	webhook_id TEXT NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
	event_id TEXT NOT NULL,
	type TEXT NOT NULL,
	subject TEXT NOT NULL, -- the job's id
	created_at INTEGER NOT NULL,
	attempts INTEGER NOT NULL DEFAULT 0,
	due_at INTEGER NOT NULL
) STRICT;
CREATE INDEX delivery_due ON delivery (webhook_id, due_at);
