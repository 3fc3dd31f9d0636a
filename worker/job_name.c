/* See job_name.h. */
#include "worker/job_name.h"

#include <stdio.h>
#include <string.h>

#define ID_CHARS 8
#define ROOM 32 /* for ":ckpt-step-N" and ":live" */

enum err job_model_name(const char *base, const char *tenant, const char *suffix, const char *job_id,
        char out[STORE_MODEL_SIZE])
{
	size_t n = strlen(job_id);
	int len = snprintf(out, STORE_MODEL_SIZE, "ft:%s:%s:%s:%s", base, tenant, suffix,
	        n > ID_CHARS ? job_id + n - ID_CHARS : job_id);

	return len > 0 && (size_t)len < STORE_MODEL_SIZE - ROOM ? OK : ERR_TOO_LONG;
}
