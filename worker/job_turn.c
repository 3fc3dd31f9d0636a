/* See job_turn.h. */
#include "worker/job_turn.h"

#include "core/log.h"

#include <string.h>

static void notify(const struct job_env *env, const char *job_id)
{
	if (env->on_job)
		env->on_job(env->on_job_arg, job_id);
}

static enum turn leave(struct job_seat *seat)
{
	runner_free(seat->runner);
	seat->runner = NULL;
	seat->next_item = seat->n_items = 0;
	return TURN_LEFT;
}

static enum turn fail_job(
        const struct job_env *env, const char *job_id, enum err e, struct why *why, struct job_seat *seat)
{
	const char *code = why->code[0] ? why->code : "server_error";
	struct job_transition t = {.to = JOB_FAILED};
	enum err stored;

	if (!why->code[0] && strcmp(why->param, "training_file") == 0)
		code = "invalid_training_file";
	else if (!why->code[0] && strcmp(why->param, "validation_file") == 0)
		code = "invalid_validation_file";
	else if (!why->code[0] && why->param[0])
		code = "invalid_request";
	t.error_code = code;
	t.error_message = why->message[0] ? why->message : err_text(e);
	t.error_param = why->param[0] ? why->param : NULL;
	stored = store_job_transition(env->store, NULL, job_id, &t, NULL);
	log_warn("job_failed", "job=%s error=%s code=%s stored=%s message=\"%s\"", job_id, err_name(e), code,
	        err_name(stored), t.error_message);
	notify(env, job_id);
	return leave(seat);
}

/* Save and hand the job back to the queue, for the next start of the daemon. */
static enum turn hand_back(const struct job_env *env, const char *job_id, struct job_seat *seat)
{
	static const struct job_transition t = {.to = JOB_QUEUED,
	        .event = "Saved for a restart of the service; training will go on from here"};
	enum err e = OK;

	if (seat->runner) {
		runner_abort(seat->runner);
		e = runner_save(seat->runner);
	}
	if (e != OK && e != ERR_CANCELLED)
		log_warn("job_not_saved", "job=%s error=%s note=\"it will go on from its last checkpoint\"",
		        job_id, err_name(e));
	e = store_job_transition(env->store, NULL, job_id, &t, NULL);
	if (e != OK && e != ERR_STATE && e != ERR_NOT_FOUND)
		log_warn("job_not_requeued", "job=%s error=%s note=\"the next start queues it\"", job_id,
		        err_name(e));
	notify(env, job_id);
	return leave(seat);
}

/* Ask the store whether the job still runs. If not, save what a paused one goes on from, and leave. */
static enum turn look(const struct job_env *env, const char *job_id, struct job_seat *seat)
{
	struct job job;
	enum job_status status = JOB_CANCELLED;
	enum err e = store_job_get(env->store, NULL, job_id, &job);

	if (e == OK) {
		status = job.status;
		job_fini(&job);
	}
	/* A store that cannot answer now will be asked again by the next checkpoint. */
	if (status == JOB_RUNNING || (e != OK && e != ERR_NOT_FOUND))
		return TURN_ITEMS;
	runner_abort(seat->runner);
	if (!job_status_terminal(status)) {
		e = runner_save(seat->runner);
		if (e != OK && e != ERR_CANCELLED)
			log_warn("job_not_saved", "job=%s status=%s error=%s", job_id,
			        job_status_name(status), err_name(e));
	}
	log_info("job_stopped", "job=%s status=%s step=%zu", job_id, job_status_name(status),
	        runner_steps_done(seat->runner));
	return leave(seat);
}

static enum turn finish(const struct job_env *env, const char *job_id, struct job_seat *seat)
{
	struct why why = {0};
	enum err e = runner_finish(seat->runner, &why);

	if (e == ERR_CANCELLED)
		return look(env, job_id, seat) == TURN_LEFT ? TURN_LEFT : TURN_AGAIN;
	if (e != OK)
		return fail_job(env, job_id, e, &why, seat);
	log_info("job_succeeded", "job=%s steps=%zu tokens=%llu", job_id, runner_steps_done(seat->runner),
	        (unsigned long long)runner_tokens_done(seat->runner));
	return leave(seat);
}

static enum err load(const struct job_env *env, const struct job *job, struct job_seat *seat, struct why *why)
{
	enum err e = runner_new(env, job, &seat->runner, why);

	if (e == OK)
		log_info("job_started", "job=%s tenant=%s model=\"%s\" step=%zu", job->id, job->tenant_id,
		        job->model, runner_steps_done(seat->runner));
	return e;
}

enum turn job_take_turn(const struct job_env *env, const char *job_id, const struct turn_orders *orders,
        struct job_seat *seat)
{
	bool must_look = orders->look;
	struct why why = {0};
	enum err e = orders->item_error;

	if (orders->stopping)
		return hand_back(env, job_id, seat);
	if (e == OK && !seat->runner)
		e = load(env, orders->job, seat, &why);
	if (e == OK && seat->n_items > 0 && seat->next_item == seat->n_items) {
		size_t before = runner_steps_done(seat->runner);

		e = runner_end(seat->runner, &why);
		seat->n_steps += runner_steps_done(seat->runner) - before;
		seat->n_items = seat->next_item = 0;
	}
	if (e != OK && e != ERR_CANCELLED)
		return fail_job(env, job_id, e, &why, seat);
	must_look = must_look || e == ERR_CANCELLED;
	if (must_look && look(env, job_id, seat) == TURN_LEFT)
		return TURN_LEFT;
	if (seat->n_items > 0)
		return TURN_ITEMS;
	if (runner_begin(seat->runner, &seat->n_items) == ERR_EMPTY)
		return finish(env, job_id, seat);
	return TURN_ITEMS;
}
