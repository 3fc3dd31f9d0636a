/* See check.h. */
#include "daemon/check.h"

#include "daemon/places.h"
#include "worker/math/cpu.h"
#include "worker/worker.h"

#include <stdlib.h>
#include <string.h>

static void print_base(const struct worker *w, FILE *to)
{
	const struct model_info *info = model_info(worker_model(w));

	fprintf(to, "base: %s\n", worker_base_name(w));
	fprintf(to, "family: %s\n", info->family);
	fprintf(to, "parameters: %llu\n", (unsigned long long)info->n_params);
	fprintf(to, "context: %zu\n", info->max_positions);
	fprintf(to, "hash: %s\n", info->hash);
}

static void print_settings(const struct config *c, const struct places *p, FILE *to)
{
	fprintf(to, "version: %s\n", REDD_VERSION);
	fprintf(to, "config: %s\n", c->config_file ? c->config_file : "");
	fprintf(to, strchr(c->host, ':') ? "listen: [%s]:%lld\n" : "listen: %s:%lld\n", c->host,
	        (long long)c->port);
	fprintf(to, "auth: %s\n", c->no_auth ? "no" : "yes");
	fprintf(to, "state: %s\n", p->state_dir);
	if (c->admin_key_file)
		fprintf(to, "admin-key: %s\n", c->admin_key_file);
	else
		fprintf(to, "admin-key: %s/admin.key\n", p->state_dir);
}

enum err check_print(const struct config *c, FILE *to, struct why *why)
{
	struct worker_options options = {.model_name = NULL};
	struct worker *w = NULL;
	struct places places = {0};
	enum err e = places_find_state(c, &places, why);

	if (!e)
		print_settings(c, &places, to);
	if (!e)
		e = places_find_base(c, &places, why);
	if (!e) {
		fprintf(to, "model: %s\n", places.model_dir);
		options.model_dir = places.model_dir;
		options.model_name = places.model_name;
		e = worker_open(&options, NULL, &w, why);
	}
	if (!e) {
		print_base(w, to);
		fprintf(to, "kernels: %s\n", cpu_level_name(cpu_level()));
	}
	worker_close(w);
	places_fini(&places);
	return e;
}
