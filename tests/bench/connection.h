/*
 * HTTP connections of a benchmark: kept open, each asking again as soon as it was answered, many on one epoll
 * descriptor. Anything unexpected fails the running program. Included only by programs in this folder.
 */
#ifndef REDD_BENCH_CONNECTION_H
#define REDD_BENCH_CONNECTION_H

#include "core/clock.h"
#include "tests/support/daemon.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cmocka.h>

#define ANSWER_SIZE 16384

struct connection {
	int fd;
	int64_t sent_ns;
	size_t n; /* of the answer so far, the end of it where that is longer */
	char answer[ANSWER_SIZE];
};

static inline void connection_open(struct connection *c, const struct daemon *d, int epoll_fd)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};

	to.sin_port = htons((uint16_t)atoi(strrchr(d->spawn.url, ':') + 1));
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(c->fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e), 0);
}

static inline void connection_send(struct connection *c, const char *request)
{
	size_t n = strlen(request);

	c->n = 0;
	c->sent_ns = clock_mono_ns();
	assert_int_equal(send(c->fd, request, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* Append what has come: the new bytes, which are followed by a NUL. */
static inline const char *connection_receive(struct connection *c)
{
	ssize_t n = recv(c->fd, c->answer + c->n, ANSWER_SIZE - 1 - c->n, 0);
	const char *fresh = c->answer + c->n;

	assert_true(n > 0);
	c->n += (size_t)n;
	c->answer[c->n] = '\0';
	return fresh;
}

/* Whether an answer with a Content-Length is whole. */
static inline bool connection_answered(const struct connection *c)
{
	const char *body = strstr(c->answer, "\r\n\r\n"), *length = strstr(c->answer, "Content-Length: ");

	return body && length && length < body &&
	       c->n == (size_t)(body + 4 - c->answer) + strtoul(length + 16, NULL, 10);
}

static inline bool connection_succeeded(const struct connection *c)
{
	return strncmp(c->answer, "HTTP/1.1 200", 12) == 0;
}

static inline int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

#endif
