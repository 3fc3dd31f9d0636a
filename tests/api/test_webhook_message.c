/* What webhooks are sent and signed with, and where they may lead. */
#include "api/webhook_address.h"
#include "api/webhook_message.h"
#include "api/webhook_pump.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct delivery due = {.event_id = "evt_1",
        .type = "fine_tuning.job.succeeded",
        .subject = "ftjob-1",
        .created_at = 1700000000};

/* The signature is what the standard's reference gives, computed with Python's hmac. */
static void test_the_message_is_as_the_standard_has_it(void **state)
{
	const struct webhook w = {.secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"};
	struct webhook_message m;

	(void)state;
	assert_int_equal(webhook_message_make(&w, &due, 1700000001, &m), OK);
	assert_string_equal(m.body,
	        "{\"id\":\"evt_1\",\"object\":\"event\",\"created_at\":1700000000,\"type\":"
	        "\"fine_tuning.job.succeeded\",\"data\":{\"id\":\"ftjob-1\"}}");
	assert_string_equal(m.id, "webhook-id: evt_1");
	assert_string_equal(m.timestamp, "webhook-timestamp: 1700000001");
	assert_string_equal(
	        m.signature, "webhook-signature: v1,UC0t5Bibqc9qdT3f7fiEMkQ6yzpWIxuFWHg8NjL6t+E=");
}

static void test_an_old_secret_signs_until_its_time(void **state)
{
	struct webhook w = {.old_until = 1700000002};
	struct webhook_message m, alone;

	(void)state;
	assert_int_equal(webhook_secret_new(w.secret), OK);
	assert_int_equal(webhook_message_make(&w, &due, 1700000001, &alone), OK);
	assert_int_equal(webhook_secret_new(w.old_secret), OK);
	assert_string_not_equal(w.secret, w.old_secret);
	assert_int_equal(webhook_message_make(&w, &due, 1700000001, &m), OK);
	assert_int_equal(strncmp(m.signature, alone.signature, strlen(alone.signature)), 0);
	assert_int_equal(strncmp(m.signature + strlen(alone.signature), " v1,", 4), 0);
	assert_int_equal(webhook_message_make(&w, &due, 1700000002, &m), OK);
	assert_int_equal(strlen(m.signature), strlen(alone.signature)); /* one again */
}

static void test_a_foreign_secret_is_refused(void **state)
{
	struct webhook_message m;

	(void)state;
	assert_int_equal(webhook_message_make(&(struct webhook){.secret = "plain"}, &due, 1, &m), ERR_FORMAT);
	assert_int_equal(
	        webhook_message_make(&(struct webhook){.secret = "whsec_?"}, &due, 1, &m), ERR_FORMAT);
}

static bool is_public(const char *text)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		return address_is_public((const struct sockaddr *)(const void *)&v4);
	assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
	return address_is_public((const struct sockaddr *)(const void *)&v6);
}

static void test_only_public_addresses_are_public(void **state)
{
	static const char *const open[] = {"1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.1", "100.63.0.1",
	        "100.128.0.1", "192.167.1.1", "223.255.255.255", "2606:4700::1111", "::ffff:8.8.8.8",
	        "2002:808:808::1", "64:ff9b::8.8.8.8"};
	static const char *const closed[] = {"0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1",
	        "127.255.255.255", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.0.1",
	        "198.18.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd12::1",
	        "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "2002:7f00:1::1",
	        "64:ff9b::10.0.0.1", "2001:db8::1", "2001:0:1::1"};
	const struct sockaddr local = {.sa_family = AF_UNIX};

	(void)state;
	for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++)
		if (!is_public(open[i]))
			fail_msg("%s", open[i]);
	for (size_t i = 0; i < sizeof(closed) / sizeof(closed[0]); i++)
		if (is_public(closed[i]))
			fail_msg("%s", closed[i]);
	assert_false(address_is_public(&local));
}

static void test_urls_are_http_without_a_user(void **state)
{
	static const char *const good[] = {
	        "https://example.org/a?b=c", "http://127.0.0.1:80", "https://[::1]/x"};
	static const char *const bad[] = {"", "example.org", "ftp://example.org/", "file:///etc/passwd",
	        "gopher://example.org", "https://ann:pw@example.org/", "https://ann@example.org/", "https://",
	        "http://exa mple.org/", "http://example.org:99999/", "http://example.org/\r\nHost: x"};
	struct why why = {0};
	char much[4096] = "https://example.org/";

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (webhook_url_check(good[i], &why))
			fail_msg("%s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (webhook_url_check(bad[i], &why) != ERR_INVALID)
			fail_msg("%s", bad[i]);
	assert_string_equal(why.param, "url");
	memset(much + strlen(much), 'a', 3000);
	assert_int_equal(webhook_url_check(much, &why), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_the_message_is_as_the_standard_has_it),
	        cmocka_unit_test(test_an_old_secret_signs_until_its_time),
	        cmocka_unit_test(test_a_foreign_secret_is_refused),
	        cmocka_unit_test(test_only_public_addresses_are_public),
	        cmocka_unit_test(test_urls_are_http_without_a_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
