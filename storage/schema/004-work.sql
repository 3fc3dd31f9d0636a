-- How much a job has to train on, as far as that was known when it was accepted, so that those in the queue can
-- tell when they will be done; 0 = unknown.

ALTER TABLE job ADD COLUMN work_tokens INTEGER NOT NULL DEFAULT 0;
-- What is left of it over the tenant's queued jobs, kept by the triggers.
ALTER TABLE tenant ADD COLUMN queued_tokens INTEGER NOT NULL DEFAULT 0;

DROP TRIGGER job_inserted;
DROP TRIGGER job_moved;
DROP TRIGGER job_deleted;

CREATE TRIGGER job_inserted AFTER INSERT ON job BEGIN
	UPDATE tenant SET
		n_queued = n_queued + (NEW.status = 'queued'),
		n_running = n_running + (NEW.status = 'running'),
		n_unfinished = n_unfinished + (NEW.status NOT IN ('succeeded', 'failed', 'cancelled')),
		queued_tokens = queued_tokens + (NEW.status = 'queued') * max(NEW.work_tokens - NEW.trained_tokens, 0)
	WHERE id = NEW.tenant_id;
END;
CREATE TRIGGER job_moved AFTER UPDATE OF status ON job BEGIN
	UPDATE tenant SET
		n_queued = n_queued + (NEW.status = 'queued') - (OLD.status = 'queued'),
		n_running = n_running + (NEW.status = 'running') - (OLD.status = 'running'),
		n_unfinished = n_unfinished + (NEW.status NOT IN ('succeeded', 'failed', 'cancelled'))
			- (OLD.status NOT IN ('succeeded', 'failed', 'cancelled')),
		queued_tokens = queued_tokens + (NEW.status = 'queued') * max(NEW.work_tokens - NEW.trained_tokens, 0)
			- (OLD.status = 'queued') * max(OLD.work_tokens - OLD.trained_tokens, 0)
	WHERE id = NEW.tenant_id;
END;
CREATE TRIGGER job_deleted AFTER DELETE ON job BEGIN
	UPDATE tenant SET
		n_queued = n_queued - (OLD.status = 'queued'),
		n_running = n_running - (OLD.status = 'running'),
		n_unfinished = n_unfinished - (OLD.status NOT IN ('succeeded', 'failed', 'cancelled')),
		queued_tokens = queued_tokens - (OLD.status = 'queued') * max(OLD.work_tokens - OLD.trained_tokens, 0)
	WHERE id = OLD.tenant_id;
END;
