/* See peer.h. */
#include "api/peer.h"

#include "core/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_MS 5000

struct peer {
	struct peer_set *set;
	struct peer *prev, *next;
	int fd; /* owned */
	uv_poll_t poll;
	uv_timer_t timer; /* of a lingering one */
	int n_handles;    /* open: the memory is theirs */
	void (*on_gone)(void *arg);
	void *arg;
};

static void on_closed(uv_handle_t *handle)
{
	struct peer *p = handle->data;
	struct peer_set *set = p->set;

	if (--p->n_handles)
		return;
	close(p->fd);
	if (p->prev)
		p->prev->next = p->next;
	else
		set->first = p->next;
	if (p->next)
		p->next->prev = p->prev;
	mem_free(p);
	if (!set->first && set->on_empty)
		set->on_empty(set->arg);
}

void peer_unwatch(struct peer *p)
{
	if (!p || uv_is_closing((uv_handle_t *)&p->poll))
		return;
	uv_close((uv_handle_t *)&p->poll, on_closed);
	if (p->n_handles == 2)
		uv_close((uv_handle_t *)&p->timer, on_closed);
}

static enum err peer_new(struct peer_set *set, int fd, struct peer **out)
{
	struct peer *p = mem_calloc(1, sizeof(*p));

	if (!p)
		return ERR_MEM;
	p->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (p->fd < 0 || uv_poll_init(set->loop, &p->poll, p->fd) != 0) {
		if (p->fd >= 0)
			close(p->fd);
		mem_free(p);
		return ERR_IO;
	}
	p->poll.data = p;
	p->n_handles = 1;
	p->set = set;
	p->next = set->first;
	if (p->next)
		p->next->prev = p;
	set->first = p;
	*out = p;
	return OK;
}

static void on_disconnect(uv_poll_t *poll, int status, int events)
{
	struct peer *p = poll->data;

	(void)status; /* an error too means that nobody is there */
	(void)events;
	uv_poll_stop(poll);
	p->on_gone(p->arg);
}

enum err peer_watch(struct peer_set *set, int fd, void (*on_gone)(void *arg), void *arg, struct peer **out)
{
	enum err e = peer_new(set, fd, out);

	if (e)
		return e;
	(*out)->on_gone = on_gone;
	(*out)->arg = arg;
	uv_poll_start(&(*out)->poll, UV_DISCONNECT, on_disconnect);
	return OK;
}

static void on_leftover(uv_poll_t *poll, int status, int events)
{
	struct peer *p = poll->data;
	char waste[65536];
	ssize_t n = status ? 0 : recv(p->fd, waste, sizeof(waste), MSG_DONTWAIT);

	(void)events;
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		peer_unwatch(p);
}

static void on_patience_ended(uv_timer_t *timer)
{
	peer_unwatch(timer->data);
}

void peer_linger(struct peer_set *set, int fd)
{
	struct peer *p;

	shutdown(fd, SHUT_WR);
	if (peer_new(set, fd, &p))
		return;
	uv_timer_init(set->loop, &p->timer);
	p->timer.data = p;
	p->n_handles = 2;
	uv_timer_start(&p->timer, on_patience_ended, LINGER_MS, 0);
	uv_poll_start(&p->poll, UV_READABLE, on_leftover);
}

void peer_abandon(struct peer_set *set)
{
	for (struct peer *p = set->first; p; p = p->next)
		if (p->n_handles == 2)
			peer_unwatch(p);
}
