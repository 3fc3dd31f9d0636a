/* Settings read again; see config.h. */
#include "daemon/config_settings.h"

#include <string.h>

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool differs(const struct setting *s, const struct config *a, const struct config *b)
{
	const void *at_a = (const char *)a + s->offset, *at_b = (const char *)b + s->offset;

	switch (s->kind) {
	case SETTING_TEXT:
		return !same_text(*(char *const *)at_a, *(char *const *)at_b);
	case SETTING_BOOL:
		return *(const bool *)at_a != *(const bool *)at_b;
	case SETTING_LISTEN: /* host and port have rows of their own */
		return false;
	case SETTING_COUNT:
	case SETTING_BYTES:
	case SETTING_LIMIT:
	case SETTING_SIZE_LIMIT:
	case SETTING_LEVEL:
	case SETTING_FORMAT:
	case SETTING_WEIGHTS:
		return *(const int64_t *)at_a != *(const int64_t *)at_b;
	}
	return false;
}

static void append(char list[512], const char *name)
{
	size_t n = strlen(list);

	snprintf(list + n, 512 - n, "%s%s", n ? " " : "", name);
}

void config_merge(struct config *c, const struct config *fresh, struct config_changes *out)
{
	const struct setting *all;
	size_t n;

	memset(out, 0, sizeof(*out));
	all = config_settings(&n);
	for (size_t i = 0; i < n; i++) {
		if (!all[i].help || !differs(&all[i], c, fresh))
			continue;
		if (!config_setting_is_live(&all[i])) {
			append(out->pending, all[i].name);
			continue;
		}
		*(int64_t *)(void *)((char *)c + all[i].offset) =
		        *(const int64_t *)(const void *)((const char *)fresh + all[i].offset);
		append(out->applied, all[i].name);
	}
}
