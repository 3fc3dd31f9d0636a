/*
 * How threads that compute in the background stand back for those that someone waits for. Thread: any.
 */
#ifndef REDD_WORKER_BACKGROUND_H
#define REDD_WORKER_BACKGROUND_H

/* The calling thread gets what the others leave. What the system does not allow is left out. */
void background_enter(void);

#endif
