-- How the last attempt to reach a webhook went, so that its owner can see it. last_at in unix seconds, 0 = none yet;
-- last_status is what was answered over HTTP, 0 = nothing; last_error is '' when the event arrived.

ALTER TABLE webhook ADD COLUMN last_event TEXT NOT NULL DEFAULT '';
ALTER TABLE webhook ADD COLUMN last_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE webhook ADD COLUMN last_status INTEGER NOT NULL DEFAULT 0;
ALTER TABLE webhook ADD COLUMN last_error TEXT NOT NULL DEFAULT '';
