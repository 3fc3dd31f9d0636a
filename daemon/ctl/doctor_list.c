/* The list of checks; see doctor.h. */
#include "daemon/ctl/doctor.h"

#include "core/mem.h"

#include <stdarg.h>
#include <string.h>

static const char *const status_names[] = {[DOCTOR_OK] = "ok",
        [DOCTOR_SKIPPED] = "skipped",
        [DOCTOR_WARNING] = "warning",
        [DOCTOR_FAILED] = "failed"};

void doctor_note(
        struct doctor *d, const char *name, enum doctor_status status, const char *mend, const char *fmt, ...)
{
	struct doctor_check *c;
	va_list ap;

	if (d->n == DOCTOR_MAX_CHECKS)
		return;
	c = &d->checks[d->n++];
	c->name = name;
	c->status = status;
	va_start(ap, fmt);
	vsnprintf(c->found, sizeof(c->found), fmt, ap);
	va_end(ap);
	snprintf(c->mend, sizeof(c->mend), "%s", mend && status != DOCTOR_OK ? mend : "");
}

bool doctor_fact(const struct doctor *d, const char *key, char *value, size_t size)
{
	size_t n = strlen(key);

	for (const char *line = d->facts; line && *line;) {
		size_t length = strcspn(line, "\n");

		if (length > n + 1 && strncmp(line, key, n) == 0 && line[n] == ':' && line[n + 1] == ' ') {
			snprintf(value, size, "%.*s", (int)(length - n - 2), line + n + 2);
			return true;
		}
		line += length + (line[length] == '\n');
	}
	return false;
}

enum doctor_status doctor_verdict(const struct doctor *d)
{
	enum doctor_status worst = DOCTOR_OK;

	for (size_t i = 0; i < d->n; i++)
		if (d->checks[i].status > worst)
			worst = d->checks[i].status;
	return worst;
}

json_t *doctor_json(const struct doctor *d)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < d->n; i++) {
		const struct doctor_check *c = &d->checks[i];

		if (json_array_append_new(
		            list, json_pack("{s:s, s:s, s:s, s:s}", "name", c->name, "status",
		                          status_names[c->status], "found", c->found, "mend", c->mend)) < 0)
			break;
	}
	return json_pack("{s:b, s:o}", "ok", doctor_verdict(d) != DOCTOR_FAILED, "checks", list);
}

void doctor_fini(struct doctor *d)
{
	if (!d)
		return;
	mem_free(d->facts);
	memset(d, 0, sizeof(*d));
}
