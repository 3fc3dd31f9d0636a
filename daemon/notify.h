/*
 * What the service manager and the daemon tell each other: readiness, status line, watchdog, and a socket it
 * may have opened for us. Without systemd every call does nothing.
 * Thread: the loop's; notify_listen_fd() main.
 */
#ifndef REDD_DAEMON_NOTIFY_H
#define REDD_DAEMON_NOTIFY_H

#include "core/err.h"

#include <stdint.h>
#include <uv.h>

/* READY=1 with a status line; the same while running; RELOADING=1, which READY=1 ends; STOPPING=1. */
void notify_ready(const char *status);
void notify_reloading(void);
void notify_status(const char *status);
void notify_stopping(const char *status);

/* *fd is the listening stream socket passed by the service manager, or -1 when there is none. The environment
 * that announced it is cleared. ERR_INVALID: several were passed, or something that is not a listening stream
 * socket. */
enum err notify_listen_fd(int *fd, struct why *why);

/* Tells the watchdog that the loop turns, at a third of the interval it asks for. */
struct notify_watchdog {
	uv_timer_t timer;
	uint64_t every_ms; /* 0 = no watchdog; the timer was not initialised then */
};

/* How often to tell a watchdog of usec microseconds; 0 for 0. */
uint64_t notify_watchdog_period_ms(uint64_t usec);
/* Start the timer on loop if the service manager has a watchdog. */
enum err notify_watchdog_start(struct notify_watchdog *w, uv_loop_t *loop);
/* Close the timer; w must live until the loop has turned. Harmless when it was not started. */
void notify_watchdog_stop(struct notify_watchdog *w);

#endif
