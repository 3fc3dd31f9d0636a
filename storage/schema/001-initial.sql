-- The first schema. `seq` is the order of creation and is never used twice; `id` is what the world sees.
-- Times are unix seconds, but lease_until, which is milliseconds. A string that is not there is '' where the
-- record holds an array, NULL where it holds a pointer.

CREATE TABLE tenant (
	seq INTEGER PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL UNIQUE,
	name TEXT NOT NULL UNIQUE,
	created_at INTEGER NOT NULL,
	limit_queued_jobs INTEGER NOT NULL,
	limit_running_jobs INTEGER NOT NULL,
	limit_file_bytes INTEGER NOT NULL,
	limit_requests_per_minute INTEGER NOT NULL,
	limit_tokens_per_minute INTEGER NOT NULL,
	-- How many of its jobs are so, kept by the triggers below: quotas and claims do not count rows.
	n_queued INTEGER NOT NULL DEFAULT 0,
	n_running INTEGER NOT NULL DEFAULT 0,
	n_unfinished INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX tenant_waiting ON tenant (n_running) WHERE n_queued > 0;

CREATE TABLE api_key (
	seq INTEGER PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL UNIQUE,
	tenant_id TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
	hash BLOB NOT NULL UNIQUE,
	hint TEXT NOT NULL,
	created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX api_key_tenant ON api_key (tenant_id);

CREATE TABLE file (
	seq INTEGER PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL UNIQUE,
	tenant_id TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
	bytes INTEGER NOT NULL,
	created_at INTEGER NOT NULL,
	expires_at INTEGER NOT NULL,
	filename TEXT NOT NULL,
	purpose TEXT NOT NULL,
	sha256 TEXT NOT NULL
) STRICT;
CREATE INDEX file_tenant ON file (tenant_id);
CREATE INDEX file_expiry ON file (expires_at) WHERE expires_at > 0;

CREATE TABLE job (
	seq INTEGER PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL UNIQUE,
	tenant_id TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
	idempotency_key TEXT,
	model TEXT NOT NULL,
	training_file TEXT NOT NULL,
	validation_file TEXT NOT NULL DEFAULT '',
	result_file TEXT NOT NULL DEFAULT '',
	spec TEXT NOT NULL,
	metadata TEXT,
	status TEXT NOT NULL CHECK (status IN
		('validating_files', 'queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),
	lease_owner TEXT,
	lease_until INTEGER NOT NULL DEFAULT 0,
	created_at INTEGER NOT NULL,
	started_at INTEGER NOT NULL DEFAULT 0,
	finished_at INTEGER NOT NULL DEFAULT 0,
	trained_tokens INTEGER NOT NULL DEFAULT 0,
	step INTEGER NOT NULL DEFAULT 0,
	total_steps INTEGER NOT NULL DEFAULT 0,
	epoch REAL NOT NULL DEFAULT 0,
	tokens_per_second REAL NOT NULL DEFAULT 0,
	fine_tuned_model TEXT NOT NULL DEFAULT '',
	adapter_sha256 TEXT NOT NULL DEFAULT '',
	error_code TEXT,
	error_message TEXT,
	error_param TEXT
) STRICT;
CREATE INDEX job_tenant ON job (tenant_id);
CREATE INDEX job_queue ON job (tenant_id, seq) WHERE status = 'queued';
CREATE INDEX job_running ON job (lease_owner) WHERE status = 'running';
CREATE UNIQUE INDEX job_idempotency ON job (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TRIGGER job_inserted AFTER INSERT ON job BEGIN
	UPDATE tenant SET
		n_queued = n_queued + (NEW.status = 'queued'),
		n_running = n_running + (NEW.status = 'running'),
		n_unfinished = n_unfinished + (NEW.status NOT IN ('succeeded', 'failed', 'cancelled'))
	WHERE id = NEW.tenant_id;
END;
CREATE TRIGGER job_moved AFTER UPDATE OF status ON job BEGIN
	UPDATE tenant SET
		n_queued = n_queued + (NEW.status = 'queued') - (OLD.status = 'queued'),
		n_running = n_running + (NEW.status = 'running') - (OLD.status = 'running'),
		n_unfinished = n_unfinished + (NEW.status NOT IN ('succeeded', 'failed', 'cancelled'))
			- (OLD.status NOT IN ('succeeded', 'failed', 'cancelled'))
	WHERE id = NEW.tenant_id;
END;
CREATE TRIGGER job_deleted AFTER DELETE ON job BEGIN
	UPDATE tenant SET
		n_queued = n_queued - (OLD.status = 'queued'),
		n_running = n_running - (OLD.status = 'running'),
		n_unfinished = n_unfinished - (OLD.status NOT IN ('succeeded', 'failed', 'cancelled'))
	WHERE id = OLD.tenant_id;
END;

-- What the trainer needs to go on: one per job, gone when the job has ended.
CREATE TABLE job_state (
	job_id TEXT NOT NULL PRIMARY KEY REFERENCES job (id) ON DELETE CASCADE,
	data BLOB NOT NULL
) STRICT;

-- By far the most rows: these refer to their job by number, and their id is made of seq.
CREATE TABLE event (
	seq INTEGER PRIMARY KEY AUTOINCREMENT,
	job INTEGER NOT NULL REFERENCES job (seq) ON DELETE CASCADE,
	once_key INTEGER,
	created_at INTEGER NOT NULL,
	level TEXT NOT NULL,
	type TEXT NOT NULL,
	message TEXT NOT NULL,
	data TEXT
) STRICT;
CREATE INDEX event_job ON event (job);
CREATE UNIQUE INDEX event_once ON event (job, once_key) WHERE once_key IS NOT NULL;

CREATE TABLE adapter (
	seq INTEGER PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL UNIQUE,
	name TEXT NOT NULL UNIQUE,
	tenant_id TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
	job_id TEXT REFERENCES job (id) ON DELETE CASCADE,
	parent TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	step INTEGER NOT NULL,
	is_checkpoint INTEGER NOT NULL,
	bytes INTEGER NOT NULL,
	sha256 TEXT NOT NULL,
	manifest TEXT NOT NULL,
	content BLOB NOT NULL
) STRICT;
CREATE INDEX adapter_tenant ON adapter (tenant_id, is_checkpoint);
CREATE INDEX adapter_job ON adapter (job_id);

CREATE TABLE checkpoint (
	seq INTEGER PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL UNIQUE,
	job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
	adapter_id TEXT NOT NULL UNIQUE REFERENCES adapter (id) ON DELETE CASCADE,
	created_at INTEGER NOT NULL,
	step INTEGER NOT NULL,
	metrics TEXT NOT NULL
) STRICT;
CREATE INDEX checkpoint_job ON checkpoint (job_id);
