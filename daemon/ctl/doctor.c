/* `redctl doctor`: everything that keeps an installation from working, each with what to do about it. */
#include "daemon/ctl/doctor.h"

#include "core/mem.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct args_option doctor_options[] = {
        {"redd", 0, "FILE", "The daemon's program (default: beside redctl, else in $PATH)."},
        {"config", 0, "FILE", "Its configuration (default: /etc/redd/redd.conf)."},
        {NULL, 0, NULL, NULL},
};

/* redd beside this program, else its bare name for $PATH. */
static void find_redd(char path[PATH_MAX])
{
	char exe[PATH_MAX - 8];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	exe[n > 0 ? n : 0] = '\0';
	slash = strrchr(exe, '/');
	if (slash) {
		*slash = '\0';
		snprintf(path, PATH_MAX, "%s/redd", exe);
		if (access(path, X_OK) == 0)
			return;
	}
	snprintf(path, PATH_MAX, "redd");
}

/* ---- the daemon ---- */

/* The version in the metrics' redd_build_info. */
static bool metrics_version(const char *metrics, char version[32])
{
	static const char mark[] = "redd_build_info{version=\"";
	const char *at = strstr(metrics, mark);

	if (!at)
		return false;
	at += sizeof(mark) - 1;
	snprintf(version, 32, "%.*s", (int)strcspn(at, "\""), at);
	return true;
}

static void check_running_version(struct ctl *ctl, struct doctor *d)
{
	char *metrics = NULL, version[32];

	if (client_get_text(ctl->client, "/metrics", &metrics, NULL))
		return;
	if (metrics_version(metrics, version))
		doctor_note(d, "running version",
		        strcmp(version, REDD_VERSION) == 0 ? DOCTOR_OK : DOCTOR_WARNING,
		        "restart the daemon after an upgrade: systemctl restart redd",
		        "the daemon is redd %s, this is redctl " REDD_VERSION, version);
	else
		doctor_note(d, "running version", DOCTOR_FAILED, "say where redd is with --url",
		        "what answers there is not redd");
	mem_free(metrics);
}

static void check_key(struct ctl *ctl, struct doctor *d)
{
	struct why why = {0};
	enum err e = client_request(ctl->client, "GET", "/v1/models", NULL, NULL, &why);

	if (!e)
		doctor_note(d, "key", DOCTOR_OK, NULL, "the daemon takes it");
	else if (e == ERR_AUTH && !args_text(&ctl->args, "key") && !args_text(&ctl->args, "key-file") &&
	         !getenv("REDD_API_KEY"))
		doctor_note(d, "key", DOCTOR_SKIPPED,
		        "give one with --key or $REDD_API_KEY to have it checked", "none was given");
	else
		doctor_note(
		        d, "key", DOCTOR_FAILED, "redctl key add TENANT gives a new one", "%s", why.message);
}

static void check_server(struct ctl *ctl, struct doctor *d)
{
	struct why why = {0};
	char *text = NULL;
	enum err e = client_get_text(ctl->client, "/readyz", &text, &why);

	mem_free(text);
	if (e == ERR_IO) {
		doctor_check_port(d);
		doctor_note(d, "daemon", DOCTOR_FAILED,
		        "start it (systemctl start redd), or say where it is with --url", "%s", why.message);
		return;
	}
	doctor_note(d, "daemon", e ? DOCTOR_FAILED : DOCTOR_OK, "wait, or see its log: journalctl -u redd",
	        "%s%s", e ? "it answers, but is not ready: " : "ready", e ? why.message : "");
	check_running_version(ctl, d);
	check_key(ctl, d);
}

/* ---- the command ---- */

static void print_checks(const struct ctl *ctl, const struct doctor *d)
{
	static const struct {
		const char *mark;
		enum term_colour colour;
	} looks[] = {
	        [DOCTOR_OK] = {"ok", TERM_GREEN},
	        [DOCTOR_SKIPPED] = {"-", TERM_DIM},
	        [DOCTOR_WARNING] = {"warning", TERM_YELLOW},
	        [DOCTOR_FAILED] = {"FAILED", TERM_RED},
	};

	for (size_t i = 0; i < d->n; i++) {
		const struct doctor_check *c = &d->checks[i];

		if (ctl->quiet && c->status < DOCTOR_WARNING)
			continue;
		fprintf(ctl->out.file, "%s%-8s%s %-16s ", term_colour(&ctl->out, looks[c->status].colour),
		        looks[c->status].mark, term_colour(&ctl->out, TERM_PLAIN), c->name);
		term_print(&ctl->out, c->found);
		fputc('\n', ctl->out.file);
		if (*c->mend)
			fprintf(ctl->out.file, "%25s -> %s\n", "", c->mend);
	}
}

static enum err run_doctor(struct ctl *ctl, struct why *why)
{
	const char *redd = args_text(&ctl->args, "redd");
	struct doctor d = {0};
	char found[PATH_MAX];
	json_t *report;

	if (!redd) {
		find_redd(found);
		redd = found;
	}
	doctor_check_program(&d, redd, args_text(&ctl->args, "config"));
	doctor_check_state(&d);
	doctor_check_admin_key(&d);
	doctor_check_unit(&d);
	check_server(ctl, &d);
	if (ctl->json) {
		report = doctor_json(&d);
		command_print_json(report);
		json_decref(report);
	} else {
		print_checks(ctl, &d);
	}
	if (doctor_verdict(&d) == DOCTOR_FAILED) {
		doctor_fini(&d);
		return why_set(why, ERR_STATE, "something needs mending");
	}
	doctor_fini(&d);
	return OK;
}

const struct command doctor_commands[] = {
        {"doctor", "", "Check an installation and say what to mend",
                "Looks at the program, its configuration, base, kernels, state directory, admin key and "
                "unit\n"
                "on this machine, and at the daemon at --url. Exit status 1 when something is broken.",
                doctor_options, 0, 0, false, run_doctor},
        {0},
};
