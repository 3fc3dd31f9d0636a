/* See network.h. */
#include "tests/support/network.h"

#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>

bool network_own(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd;
	bool up;

	if (unshare(CLONE_NEWNET) < 0)
		return false;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	up = ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
	close(fd);
	return up;
}

unsigned network_port_free(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	        getsockname(fd, (struct sockaddr *)&at, &n) < 0)
		at.sin_port = 0;
	close(fd);
	return ntohs(at.sin_port);
}
