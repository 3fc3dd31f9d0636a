/* See background.h. */
#include "worker/background.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#define BACKGROUND_NICE 19

void background_enter(void)
{
	const struct sched_param param = {0};

	(void)sched_setscheduler(0, SCHED_BATCH, &param);
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), BACKGROUND_NICE);
}
