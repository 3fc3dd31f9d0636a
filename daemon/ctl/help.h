/*
 * The commands of redctl as one list, and what --help prints about them. Thread: main.
 */
#ifndef REDD_CTL_HELP_H
#define REDD_CTL_HELP_H

#include "daemon/ctl/command.h"

/* Options every command takes. */
extern const struct args_option global_options[];

/* The command listed after this one; the first for NULL; NULL behind the last. */
const struct command *help_each(const struct command *after);
/* Print the second words of the commands that begin with word, commas between, to a file or (NULL) nowhere;
 * false when there are none. */
bool help_group(FILE *to, const char *word);
/* The command that n words begin with; *n_words is how many are its name. NULL when there is none. */
const struct command *help_find(char *const *words, size_t n, size_t *n_words);
void help_all(FILE *to);
void help_command(FILE *to, const struct command *c);

#endif
