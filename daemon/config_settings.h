/*
 * The one table of settings: name, kind, place in struct config, range and help. The configuration file's
 * keys are the long options' names. Turns the text of a value into the value. Thread: any; the table is
 * constant.
 */
#ifndef REDD_DAEMON_CONFIG_SETTINGS_H
#define REDD_DAEMON_CONFIG_SETTINGS_H

#include "daemon/config.h"

#include <stddef.h>

enum setting_kind {
	SETTING_TEXT,       /* char *, not empty */
	SETTING_COUNT,      /* int64_t from min to max */
	SETTING_BYTES,      /* int64_t, with K, M, G or T for powers of 1024 */
	SETTING_LIMIT,      /* int64_t >= 1, or "none" */
	SETTING_SIZE_LIMIT, /* as bytes, or "none" */
	SETTING_BOOL,       /* yes or no; a bare option means yes */
	SETTING_LISTEN,     /* HOST:PORT into host and port */
	SETTING_LEVEL,      /* debug, info, warn, error */
	SETTING_FORMAT,     /* text, json */
	SETTING_WEIGHTS,    /* float32, bf16, int8 */
};

struct setting {
	const char *name;     /* the long option, and the key */
	const char *argument; /* what --help calls its value; NULL for SETTING_BOOL */
	enum setting_kind kind;
	size_t offset; /* in struct config */
	int64_t min, max;
	const char *group; /* heading in --help */
	const char *help;  /* lines; NULL = another name of a setting, not shown */
};

/* All settings in the order of --help. */
const struct setting *config_settings(size_t *n);
/* NULL when there is none of that name. */
const struct setting *config_setting_find(const char *name);
/* Whether a reload puts it in force; others wait for a restart. All of these are numbers. */
bool config_setting_is_live(const struct setting *s);
/* Parse value and store it in c. ERR_INVALID with the allowed values in why; c is unmodified then. ERR_MEM.
 */
enum err config_setting_apply(const struct setting *s, const char *value, struct config *c, struct why *why);
/* Put the built-in values into c, which must be zeroed. ERR_MEM. */
enum err config_defaults(struct config *c);

/* "64M" and the like: digits, then nothing or one of K, M, G, T (also k, KiB...). False when it is not that.
 */
bool config_parse_bytes(const char *text, int64_t *bytes);
/* "127.0.0.1:80", "[::1]:80", "localhost:0". *host is the caller's, mem_free() it. ERR_INVALID, ERR_MEM. */
enum err config_parse_listen(const char *text, char **host, int64_t *port, struct why *why);

#endif
