-- Stable names of a tenant's own choosing, each pointing at one immutable adapter. A deleted adapter takes the
-- names that point at it along.

CREATE TABLE alias (
	seq INTEGER PRIMARY KEY AUTOINCREMENT,
	tenant_id TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
	name TEXT NOT NULL,
	adapter_id TEXT NOT NULL REFERENCES adapter (id) ON DELETE CASCADE,
	updated_at INTEGER NOT NULL,
	UNIQUE (tenant_id, name)
) STRICT;
CREATE INDEX alias_adapter ON alias (adapter_id);
