/* See webhook_address.h. After IANA's registries of special-purpose addresses. */
#include "api/webhook_address.h"

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct range {
	uint32_t start;
	unsigned bits;
};

static bool ipv4_is_public(uint32_t a)
{
	static const struct range special[] = {
	        {0x00000000, 8},  /* this network */
	        {0x0a000000, 8},  /* private */
	        {0x64400000, 10}, /* carriers' own */
	        {0x7f000000, 8},  /* loopback */
	        {0xa9fe0000, 16}, /* link-local, clouds' metadata */
	        {0xac100000, 12}, /* private */
	        {0xc0000000, 24}, /* protocol assignments */
	        {0xc0000200, 24}, /* documentation */
	        {0xc0586300, 24}, /* 6to4 relays */
	        {0xc0a80000, 16}, /* private */
	        {0xc6120000, 15}, /* benchmarks */
	        {0xc6336400, 24}, /* documentation */
	        {0xcb007100, 24}, /* documentation */
	        {0xe0000000, 3},  /* multicast, reserved, broadcast */
	};

	for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++)
		if (!((a ^ special[i].start) >> (32 - special[i].bits)))
			return false;
	return true;
}

static uint32_t read_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Global unicast is 2000::/3; those that carry an IPv4 address are as public as that one. */
static bool ipv6_is_public(const uint8_t a[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, nat64[12] = {0x00, 0x64, 0xff, 0x9b};

	if (!memcmp(a, mapped, sizeof(mapped)) || !memcmp(a, nat64, sizeof(nat64)))
		return ipv4_is_public(read_be32(a + 12));
	if (a[0] == 0x20 && a[1] == 0x02) /* 6to4 */
		return ipv4_is_public(read_be32(a + 2));
	if (read_be32(a) == 0x20010000 || read_be32(a) == 0x20010db8) /* Teredo, documentation */
		return false;
	return a[0] >> 5 == 1;
}

bool address_is_public(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return ipv4_is_public(
		        ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr));
	if (address->sa_family == AF_INET6)
		return ipv6_is_public(
		        ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr);
	return false;
}
