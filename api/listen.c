/* See listen.h. */
#include "api/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* "host:port", "[v6]:port", ":port" into its halves. */
static enum err address_split(
        const char *address, char *host, size_t size, const char **port, struct why *why)
{
	const char *colon = strrchr(address, ':');
	size_t n = colon ? (size_t)(colon - address) : 0;

	if (!colon || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return why_param(why, ERR_INVALID, "listen", "%s: not of the form HOST:PORT", address);
	*port = colon + 1;
	if (n >= 2 && address[0] == '[' && address[n - 1] == ']') {
		address++;
		n -= 2;
	}
	if (n >= size)
		return why_param(why, ERR_INVALID, "listen", "%s: the host's name is too long", address);
	memcpy(host, address, n);
	host[n] = '\0';
	return OK;
}

static int socket_listening(const struct addrinfo *ai)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int yes = 1;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) == 0 &&
	        bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
		return fd;
	yes = errno;
	close(fd);
	errno = yes;
	return -1;
}

enum err listen_open(const char *address, int *fd, struct why *why)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *all = NULL;
	const char *port = NULL;
	char host[256];
	int found = -1;
	enum err e = address_split(address, host, sizeof(host), &port, why);

	if (e)
		return e;
	if (getaddrinfo(host[0] ? host : NULL, port, &hints, &all) != 0)
		return why_param(why, ERR_INVALID, "listen", "%s: no such address", address);
	for (struct addrinfo *ai = all; ai && found < 0; ai = ai->ai_next)
		found = socket_listening(ai);
	freeaddrinfo(all);
	if (found < 0)
		return why_param(why, ERR_IO, "listen", "%s: %s", address, strerror(errno));
	*fd = found;
	return OK;
}

enum err listen_address(int fd, char out[LISTEN_ADDRESS_SIZE])
{
	struct sockaddr_storage at;
	socklen_t n = sizeof(at);
	char host[INET6_ADDRSTRLEN], port[8];

	if (getsockname(fd, (struct sockaddr *)&at, &n) != 0)
		return ERR_IO;
	if (at.ss_family == AF_UNIX) {
		snprintf(out, LISTEN_ADDRESS_SIZE, "unix");
		return OK;
	}
	if (getnameinfo((struct sockaddr *)&at, n, host, sizeof(host), port, sizeof(port),
	            NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return ERR_IO;
	snprintf(out, LISTEN_ADDRESS_SIZE, at.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
	return OK;
}

bool listen_is_loopback(int fd)
{
	struct sockaddr_storage at;
	socklen_t n = sizeof(at);

	if (getsockname(fd, (struct sockaddr *)&at, &n) != 0)
		return false;
	if (at.ss_family == AF_INET)
		return ntohl(((struct sockaddr_in *)&at)->sin_addr.s_addr) >> 24 == 127;
	if (at.ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)&at)->sin6_addr);
	return at.ss_family == AF_UNIX;
}
