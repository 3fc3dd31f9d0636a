/*
 * The chat formats we know, as data: chat.c renders by them, chat_detect.c tells them apart. Constant.
 */
#ifndef REDD_TEXT_CHAT_FORMAT_H
#define REDD_TEXT_CHAT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

#define CHAT_EOS "\1" /* in `close`: the tokenizer's end of text, whatever it is called */

struct chat_turn {
	const char *open; /* NULL = the format has no place for this role */
	const char *close;
};

struct chat_format {
	const char *name;
	const char *marks[2];    /* what its template contains; NULL = nothing more */
	const char *bos;         /* starts the text unless the tokenizer does so by itself; or NULL */
	bool bos_again;          /* and starts each later user turn too */
	bool trim;               /* messages lose the white space around them */
	bool system_within_user; /* the system message is wrapped in `system` and put before the first user's
	                          */
	const char *default_system;
	struct chat_turn system, user, assistant; /* assistant.close NULL = ended by the caller's eos_id */
	const char *lead;                         /* before the assistant's answer, as part of it */
	const char *between;                      /* after an assistant turn, before the next */
};

/* All formats, the plain one last; detection takes the first whose marks are all there. */
extern const struct chat_format chat_formats[];
extern const size_t n_chat_formats;

#endif
