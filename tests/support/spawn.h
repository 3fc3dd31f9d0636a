/*
 * Start a redd as a child process and wait until it says it is ready, over the socket systemd would give it:
 * nothing polls or sleeps. It ends with the process that started it, however that ends. Used by tests and by
 * the demo. Thread: the owner.
 */
#ifndef REDD_TESTS_SPAWN_H
#define REDD_TESTS_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct spawn {
	pid_t pid;     /* 0 = nothing runs */
	bool outlives; /* it goes on when this process has ended */
	char dir[64];  /* holds state/, port, log; the caller makes and removes it */
	char url[128]; /* once ready: "http://127.0.0.1:43121" */
};

/* Start $OUT/redd (build/release/redd unless OUT is set) on a free loopback port with DIR/state, its output
 * in DIR/log, and these further arguments (NULL-terminated, or NULL). False when it did not become ready: it
 * is reaped then, if it died. */
bool spawn_start(struct spawn *s, const char *const *args);
/* In a child about to exec: end as soon as the parent has. */
void spawn_end_with_parent(void);
/* Run a shell script in dir to its end, what it prints into the file `output`: its wait status. All processes
 * that it started end with it, and with this process. */
int spawn_script(const char *dir, const char *script, const char *output);
/* Run it to its end instead: its wait status. */
int spawn_run(struct spawn *s, const char *const *args);
/* Send a signal and reap: the wait status. */
int spawn_signal(struct spawn *s, int sig);
/* The last `size - 1` bytes of DIR/log. */
void spawn_log(const struct spawn *s, char *out, size_t size);
/* The first line of DIR/name, "" when there is none. */
void spawn_read_line(const struct spawn *s, const char *name, char *out, size_t size);

#endif
