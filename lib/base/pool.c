#include "base/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/xalloc.h"

enum { JOBS_MAX = 256 };

enum piece_state { PIECE_FREE, PIECE_WAITING, PIECE_MADE };

struct piece {
	enum piece_state state;
	uint64_t i;
	int rc;
	struct err err;
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t work, made;
	pthread_t *threads;
	unsigned nthreads, nslots;
	struct piece *pieces; /* slot i % nslots holds piece i */
	bool quit;
	/* the current run */
	int (*make)(void *arg, uint64_t i, unsigned slot, struct err *err);
	void *arg;
	uint64_t next, offered; /* pieces [next, offered) wait for a thread */
	bool failed;            /* a piece has failed; the remaining pieces are skipped */
};

/* Makes piece next. The lock is held on entry and on return. */
static void
make_one(struct pool *p)
{
	unsigned slot = (unsigned)(p->next % p->nslots);
	struct piece *pc = &p->pieces[slot];
	bool skip = p->failed;

	p->next++;
	pthread_mutex_unlock(&p->lock);
	err_clear(&pc->err);
	pc->rc = skip ? 0 : p->make(p->arg, pc->i, slot, &pc->err);
	pthread_mutex_lock(&p->lock);
	if (pc->rc != 0)
		p->failed = true;
	pc->state = PIECE_MADE;
	pthread_cond_broadcast(&p->made);
}

static void *
worker(void *arg)
{
	struct pool *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!p->quit && p->next == p->offered)
			pthread_cond_wait(&p->work, &p->lock);
		if (p->quit)
			break;
		make_one(p);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Workers block all signals, so that handlers run in the main thread. */
static void
start_threads(struct pool *p, unsigned n)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (; p->nthreads < n; p->nthreads++)
		if (pthread_create(&p->threads[p->nthreads], NULL, worker, p) != 0)
			break;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

struct pool *
pool_new(unsigned jobs)
{
	struct pool *p = xcalloc(1, sizeof(*p));

	if (jobs > JOBS_MAX)
		jobs = JOBS_MAX;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->made, NULL);
	p->nslots = jobs > 1 ? 2 * jobs : 1;
	p->pieces = xcalloc(p->nslots, sizeof(*p->pieces));
	p->threads = xcalloc(JOBS_MAX, sizeof(*p->threads));
	if (jobs > 1)
		start_threads(p, jobs - 1);
	return p;
}

void
pool_free(struct pool *p)
{
	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	p->quit = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->nthreads; i++)
		pthread_join(p->threads[i], NULL);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->made);
	free(p->threads);
	free(p->pieces);
	free(p);
}

unsigned
pool_slots(const struct pool *p)
{
	return p == NULL ? 1 : p->nslots;
}

/* Offers pieces to the threads while slots are free. The lock is held. */
static void
offer(struct pool *p, uint64_t n)
{
	struct piece *pc;

	for (; p->offered < n && !p->failed; p->offered++) {
		pc = &p->pieces[p->offered % p->nslots];
		if (pc->state != PIECE_FREE)
			break;
		pc->state = PIECE_WAITING;
		pc->i = p->offered;
	}
	pthread_cond_broadcast(&p->work);
}

/* Waits until piece i is made, and makes pieces itself meanwhile. The lock is held. */
static void
await(struct pool *p, uint64_t i)
{
	while (p->pieces[i % p->nslots].state != PIECE_MADE) {
		if (p->next < p->offered)
			make_one(p);
		else
			pthread_cond_wait(&p->made, &p->lock);
	}
}

static int
run_parallel(struct pool *p, uint64_t n, int (*take)(void *arg, uint64_t i, unsigned slot, struct err *err), void *arg,
	     struct err *err)
{
	unsigned slot;
	uint64_t i;
	int rc = 0;

	pthread_mutex_lock(&p->lock);
	for (i = 0; i < n && rc == 0; i++) {
		offer(p, n);
		await(p, i);
		slot = (unsigned)(i % p->nslots);
		rc = p->pieces[slot].rc;
		if (rc != 0) {
			*err = err->code == ERR_NONE ? p->pieces[slot].err : *err;
		} else {
			pthread_mutex_unlock(&p->lock);
			rc = take(arg, i, slot, err);
			pthread_mutex_lock(&p->lock);
		}
		p->pieces[slot].state = PIECE_FREE;
	}
	p->failed = true; /* pieces that were offered are skipped if not yet started */
	for (; i < p->offered; i++) {
		await(p, i);
		p->pieces[i % p->nslots].state = PIECE_FREE;
	}
	pthread_mutex_unlock(&p->lock);
	return rc;
}

int
pool_run(struct pool *p, uint64_t n, int (*make)(void *arg, uint64_t i, unsigned slot, struct err *err),
	 int (*take)(void *arg, uint64_t i, unsigned slot, struct err *err), void *arg, struct err *err)
{
	if (p != NULL && p->nthreads > 0) {
		pthread_mutex_lock(&p->lock);
		p->make = make;
		p->arg = arg;
		p->next = p->offered = 0;
		p->failed = false;
		pthread_mutex_unlock(&p->lock);
		return run_parallel(p, n, take, arg, err);
	}
	for (uint64_t i = 0; i < n; i++)
		if (make(arg, i, 0, err) != 0 || take(arg, i, 0, err) != 0)
			return -1;
	return 0;
}
