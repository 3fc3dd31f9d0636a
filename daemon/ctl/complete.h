/*
 * What may stand where the cursor is, for the shells' completion: commands and options out of the tables of
 * --help, ids out of the daemon. Thread: main.
 */
#ifndef REDD_CTL_COMPLETE_H
#define REDD_CTL_COMPLETE_H

#include <stddef.h>
#include <stdio.h>

/* `redctl __complete WORD...`: how the scripts in completion/ ask. */
#define COMPLETE_WORD "__complete"
/* The one line printed where files belong. */
#define COMPLETE_FILES ":files"

/* words are those behind "redctl", the last one being the one at the cursor, maybe empty. Prints a candidate
 * a line, with a tab and a description behind it where there is one. Says nothing of errors. */
void complete_print(FILE *to, char *const *words, size_t n);

#endif
