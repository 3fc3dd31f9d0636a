/*
 * The request that `redctl chat` and `redctl complete` send, out of their options. Pure but for
 * ask_read_prompt(). Thread: main.
 */
#ifndef REDD_CTL_ASK_H
#define REDD_CTL_ASK_H

#include "core/buf.h"
#include "daemon/ctl/command.h"

#include <jansson.h>

/* The options of both. */
extern const struct args_option ask_options[];

/* The body of a completion by model: member ("messages" or "prompt") is set to content, which is borrowed.
 * A new reference. ERR_INVALID names option and range; ERR_MEM. */
enum err ask_body(const struct args *a, const char *model, const char *member, json_t *content, bool stream,
        json_t **out, struct why *why);
/* The new text of a stream's event, chat or not; "" when it has none. Borrowed from event. */
const char *ask_event_text(const json_t *event);
/* The operands as one text, or all of standard input. ERR_INVALID when there is none, ERR_TOO_LARGE, ERR_MEM.
 */
enum err ask_read_prompt(struct ctl *ctl, struct buf *prompt, struct why *why);

#endif
