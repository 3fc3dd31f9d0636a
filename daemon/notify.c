/* See notify.h. sd_notify() answers 0 without NOTIFY_SOCKET; its failures change nothing we could mend. */
#include "daemon/notify.h"

#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <time.h>

void notify_ready(const char *status)
{
	(void)sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void notify_reloading(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	(void)sd_notifyf(
	        0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

void notify_status(const char *status)
{
	(void)sd_notifyf(0, "STATUS=%s", status);
}

void notify_stopping(const char *status)
{
	(void)sd_notifyf(0, "STOPPING=1\nSTATUS=%s", status);
}

enum err notify_listen_fd(int *fd, struct why *why)
{
	int n = sd_listen_fds(1);

	if (n < 0)
		return why_set(why, ERR_INVALID, "systemd announced sockets that are not there");
	if (n > 1)
		return why_set(
		        why, ERR_INVALID, "systemd passed %d sockets; redd.socket must name one address", n);
	if (n == 1 && sd_is_socket(SD_LISTEN_FDS_START, AF_UNSPEC, SOCK_STREAM, 1) <= 0)
		return why_set(why, ERR_INVALID, "what systemd passed is not a listening stream socket");
	*fd = n == 1 ? SD_LISTEN_FDS_START : -1;
	return OK;
}

uint64_t notify_watchdog_period_ms(uint64_t usec)
{
	uint64_t ms = usec / 3000;

	return usec && !ms ? 1 : ms;
}

static void on_tick(uv_timer_t *timer)
{
	(void)timer;
	(void)sd_notify(0, "WATCHDOG=1");
}

enum err notify_watchdog_start(struct notify_watchdog *w, uv_loop_t *loop)
{
	uint64_t usec = 0;

	w->every_ms = sd_watchdog_enabled(0, &usec) > 0 ? notify_watchdog_period_ms(usec) : 0;
	if (!w->every_ms)
		return OK;
	if (uv_timer_init(loop, &w->timer) < 0) {
		w->every_ms = 0;
		return ERR_IO;
	}
	(void)uv_timer_start(&w->timer, on_tick, 0, w->every_ms);
	return OK;
}

void notify_watchdog_stop(struct notify_watchdog *w)
{
	if (!w->every_ms)
		return;
	w->every_ms = 0;
	uv_close((uv_handle_t *)&w->timer, NULL);
}
