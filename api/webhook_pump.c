/*
 * See webhook_pump.h.
 *
 *   thread  owns                     woken by                                         stops
 *   pump    everything but the flags curl's sockets and timeouts, a poke, due times   webhook_pump_stop()
 * joins
 */
#include "api/webhook_pump.h"

#include "api/webhook_address.h"
#include "api/webhook_message.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/mem.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#define MAX_TRANSFERS 32
#define CONNECT_MS 5000L
#define TRANSFER_MS 10000L
#define MAX_ANSWER_BYTES (64u << 10)
#define URL_MAX_BYTES 2048
#define FIRST_RETRY_MS 1000
#define LAST_RETRY_MS ((int64_t)4 * 3600 * 1000)
#define GIVE_UP_SECONDS ((int64_t)72 * 3600)
#define LOOK_EVERY_MS 50    /* pokes come in swarms: one look answers all of them */
#define REST_MS 60000       /* without anything to do */
#define STORE_RETRY_MS 1000 /* when the store fails */
#define NS_PER_MS 1000000

struct transfer {
	LIST_ENTRY(transfer) link;
	struct webhook_pump *pump; /* borrowed */
	struct delivery delivery;
	char tenant_id[STORE_ID_SIZE];
	struct webhook_message message;
	CURL *curl; /* owned, as the next */
	struct curl_slist *headers;
	size_t n_answer;
	bool refused; /* the address is not one to connect to */
};

struct webhook_pump {
	struct store *store; /* borrowed */
	bool private_addresses;
	pthread_t thread;
	CURLM *multi; /* owned */
	atomic_bool poked, stopping;

	/* the pump's */
	LIST_HEAD(, transfer) transfers;
	size_t n_transfers;
	int64_t looked_ms; /* monotonic */
	int64_t next_ms;   /* wall clock: when to look without being poked */
};

static int64_t mono_ms(void)
{
	return clock_mono_ns() / NS_PER_MS;
}

/* ---- one transfer ---- */

static void transfer_free(struct transfer *t)
{
	curl_easy_cleanup(t->curl);
	curl_slist_free_all(t->headers);
	mem_free(t);
}

/* The answer is read, to be polite, and forgotten. */
static size_t on_answer(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;

	(void)data;
	t->n_answer += size * n;
	return t->n_answer > MAX_ANSWER_BYTES ? 0 : size * n;
}

/* Asked with the address that the name has led to: no name can lead elsewhere afterwards. */
static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
	struct transfer *t = arg;

	(void)purpose;
	if (t->pump->private_addresses || address_is_public(&to->addr))
		return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
	t->refused = true;
	return CURL_SOCKET_BAD;
}

static bool add_header(struct transfer *t, const char *line)
{
	struct curl_slist *list = curl_slist_append(t->headers, line);

	if (list)
		t->headers = list;
	return list != NULL;
}

static enum err transfer_prepare(struct transfer *t, const char *url)
{
	CURL *c = curl_easy_init();

	t->curl = c;
	if (!c || !add_header(t, "Content-Type: application/json") || !add_header(t, "Expect:") ||
	        !add_header(t, t->message.id) || !add_header(t, t->message.timestamp) ||
	        !add_header(t, t->message.signature))
		return ERR_MEM;
	curl_easy_setopt(c, CURLOPT_PRIVATE, t);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(c, CURLOPT_POSTFIELDS, t->message.body);
	curl_easy_setopt(c, CURLOPT_USERAGENT, "redd/" REDD_VERSION);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c, CURLOPT_PROXY, ""); /* else the address asked about were the proxy's */
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, TRANSFER_MS);
	curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_answer);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
	/* cppcheck-suppress leakNoVarFunctionCall; libcurl calls it, and closes what it opens */
	curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, t);
	return curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK ? OK : ERR_MEM;
}

/* ERR_NOT_FOUND: its webhook has been deleted, and it with it. */
static enum err transfer_begin(struct webhook_pump *p, const struct delivery *d)
{
	struct transfer *t = mem_calloc(1, sizeof(*t));
	struct webhook w = {0};
	enum err e;

	if (!t)
		return ERR_MEM;
	t->pump = p;
	t->delivery = *d;
	e = store_delivery_webhook(p->store, d->webhook_id, &w);
	if (!e)
		e = webhook_message_make(&w, d, clock_now_ms() / 1000, &t->message);
	memcpy(t->tenant_id, w.tenant_id, sizeof(t->tenant_id));
	if (!e)
		e = transfer_prepare(t, w.url);
	if (!e && curl_multi_add_handle(p->multi, t->curl) != CURLM_OK)
		e = ERR_MEM;
	webhook_fini(&w);
	if (e) {
		transfer_free(t);
		return e;
	}
	LIST_INSERT_HEAD(&p->transfers, t, link);
	p->n_transfers++;
	return OK;
}

static int64_t retry_delay_ms(int64_t attempts)
{
	int64_t ms = FIRST_RETRY_MS;

	while (attempts-- > 0 && ms < LAST_RETRY_MS)
		ms *= 4;
	return ms < LAST_RETRY_MS ? ms : LAST_RETRY_MS;
}

static void transfer_end(struct webhook_pump *p, struct transfer *t, CURLcode code)
{
	const struct delivery *d = &t->delivery;
	int64_t now = clock_now_ms();
	struct delivery_outcome outcome = {.at = now / 1000};
	long status = 0;
	enum err e;

	curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
	outcome.status = status;
	if (code == CURLE_OK && status / 100 == 2) {
		e = store_delivery_drop(p->store, d->seq, &outcome);
	} else {
		bool last = now / 1000 - d->created_at > GIVE_UP_SECONDS ||
		            !strcmp(d->subject, STORE_TEST_SUBJECT);
		const char *reason = t->refused         ? "the address is not public"
		                     : code == CURLE_OK ? "it did not answer with 2xx"
		                                        : curl_easy_strerror(code);

		log_warn("webhook_failed",
		        "webhook=%s tenant=%s webhook_event=%s job=%s attempt=%lld status=%ld given_up=%s "
		        "reason=\"%s\"",
		        d->webhook_id, t->tenant_id, d->event_id, d->subject, (long long)d->attempts + 1,
		        status, last ? "yes" : "no", reason);
		snprintf(outcome.error, sizeof(outcome.error), "%s", reason);
		e = last ? store_delivery_drop(p->store, d->seq, &outcome)
		         : store_delivery_retry(
		                   p->store, d->seq, now + retry_delay_ms(d->attempts), &outcome);
	}
	if (e)
		log_error("webhook_store_failed", "webhook=%s webhook_event=%s error=%s", d->webhook_id,
		        d->event_id, err_name(e));
	LIST_REMOVE(t, link);
	p->n_transfers--;
	curl_multi_remove_handle(p->multi, t->curl);
	transfer_free(t);
}

/* ---- the thread ---- */

static bool under_way(const struct webhook_pump *p, const char *webhook_id)
{
	const struct transfer *t;

	LIST_FOREACH(t, &p->transfers, link)
	if (!strcmp(t->delivery.webhook_id, webhook_id))
		return true;
	return false;
}

/* Begin what is due. */
static void look(struct webhook_pump *p)
{
	int64_t now = clock_now_ms(), next = 0;
	struct delivery *items = NULL;
	size_t n = 0;
	enum err e, failed;

	p->looked_ms = mono_ms();
	e = store_delivery_due(p->store, now, MAX_TRANSFERS + p->n_transfers, &items, &n, &next);
	p->next_ms = e ? now + STORE_RETRY_MS : next;
	for (size_t i = 0; !e && i < n && p->n_transfers < MAX_TRANSFERS; i++) {
		if (under_way(p, items[i].webhook_id))
			continue;
		failed = transfer_begin(p, &items[i]);
		if (!failed || failed == ERR_NOT_FOUND)
			continue;
		log_error("webhook_not_sent", "webhook=%s webhook_event=%s error=%s", items[i].webhook_id,
		        items[i].event_id, err_name(failed));
		e = store_delivery_retry(p->store, items[i].seq, now + retry_delay_ms(items[i].attempts),
		        &(struct delivery_outcome){.at = now / 1000, .error = "it could not be sent"});
	}
	mem_free(items);
	if (e)
		log_error("webhooks_failed", "error=%s", err_name(e));
}

/* What has ended makes room, and its webhook free for the next. */
static bool reap(struct webhook_pump *p)
{
	bool any = false;
	struct CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(p->multi, &left))) {
		char *t = NULL;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
		transfer_end(p, (struct transfer *)(void *)t, m->data.result);
		any = true;
	}
	return any;
}

static int rest_ms(struct webhook_pump *p, bool due)
{
	int64_t until = p->next_ms == INT64_MAX ? REST_MS : p->next_ms - clock_now_ms();

	if (due)
		until = p->looked_ms + LOOK_EVERY_MS - mono_ms();
	return until < 0 ? 0 : until > REST_MS ? REST_MS : (int)until;
}

static void *pump_main(void *arg)
{
	struct webhook_pump *p = arg;
	struct transfer *t;
	bool due = true;
	int running;

	while (!atomic_load(&p->stopping)) {
		due = atomic_exchange(&p->poked, false) || due || clock_now_ms() >= p->next_ms;
		if (due && mono_ms() - p->looked_ms >= LOOK_EVERY_MS) {
			due = false;
			look(p);
		}
		curl_multi_perform(p->multi, &running);
		if (reap(p))
			due = true;
		curl_multi_poll(p->multi, NULL, 0, rest_ms(p, due), NULL);
	}
	while ((t = LIST_FIRST(&p->transfers))) {
		LIST_REMOVE(t, link);
		curl_multi_remove_handle(p->multi, t->curl);
		transfer_free(t);
	}
	return NULL;
}

enum err webhook_pump_start(struct store *store, bool private_addresses, struct webhook_pump **out)
{
	struct webhook_pump *p = mem_calloc(1, sizeof(*p));

	if (!p)
		return ERR_MEM;
	p->store = store;
	p->private_addresses = private_addresses;
	p->looked_ms = mono_ms() - LOOK_EVERY_MS;
	LIST_INIT(&p->transfers);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		goto fail;
	p->multi = curl_multi_init();
	if (!p->multi)
		goto fail;
	if (pthread_create(&p->thread, NULL, pump_main, p)) {
		curl_multi_cleanup(p->multi);
		goto fail;
	}
	*out = p;
	return OK;
fail:
	mem_free(p);
	return ERR_MEM;
}

void webhook_pump_stop(struct webhook_pump *p)
{
	if (!p)
		return;
	atomic_store(&p->stopping, true);
	curl_multi_wakeup(p->multi);
	pthread_join(p->thread, NULL);
	curl_multi_cleanup(p->multi);
	mem_free(p);
}

void webhook_pump_poke(struct webhook_pump *p)
{
	if (!atomic_exchange(&p->poked, true))
		curl_multi_wakeup(p->multi);
}

/* ---- URLs ---- */

static enum err url_parse(CURLU *u, const char *url)
{
	char *user = NULL, *host = NULL, *scheme = NULL;
	bool good;

	if (strlen(url) > URL_MAX_BYTES || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK)
		return ERR_INVALID;
	curl_url_get(u, CURLUPART_USER, &user, 0);
	curl_url_get(u, CURLUPART_HOST, &host, 0);
	curl_url_get(u, CURLUPART_SCHEME, &scheme, 0);
	good = !user && host && *host && scheme && (!strcmp(scheme, "http") || !strcmp(scheme, "https"));
	curl_free(user);
	curl_free(host);
	curl_free(scheme);
	return good ? OK : ERR_INVALID;
}

enum err webhook_url_check(const char *url, struct why *why)
{
	CURLU *u = curl_url();
	enum err e = u ? url_parse(u, url) : ERR_MEM;

	curl_url_cleanup(u);
	if (e == ERR_INVALID)
		why_param(why, e, "url",
		        "'url' must be a http or https URL of at most %d bytes, without a user in it.",
		        URL_MAX_BYTES);
	return e;
}
