/* SPDX-License-Identifier: Apache-2.0 */
/* server/crew: threads around one bounded ring of tasks. Refuses work beyond its room. */
#include "server/crew.h"

#include "core/mem.h"
#include "core/sync.h"

typedef struct crew_task {
    void (*fn)(void *arg);
    void *arg;
} crew_task;

struct tkr_crew {
    tkr_mutex lock; /* of all that changes */
    tkr_cond wake;
    crew_task *tasks;     /* [room] a ring from `first` on */
    tkr_thread **threads; /* [n_threads] */
    size_t room, first, n_queued;
    unsigned n_threads, n_idle, n_busy;
    bool stop;
};

/* Takes the next task; false when there will be none: busy ones may still hand in more. */
static bool next_task(tkr_crew *crew, crew_task *task) {
    tkr_mutex_lock(&crew->lock);
    while (crew->n_queued == 0 && !(crew->stop && crew->n_busy == 0)) {
        crew->n_idle++;
        tkr_cond_wait(&crew->wake, &crew->lock);
        crew->n_idle--;
    }
    const bool any = crew->n_queued > 0;
    if (any) {
        *task = crew->tasks[crew->first];
        crew->first = crew->first + 1 == crew->room ? 0 : crew->first + 1;
        crew->n_queued--;
        crew->n_busy++;
    }
    tkr_mutex_unlock(&crew->lock);
    return any;
}

static void work(void *arg) {
    tkr_crew *crew = arg;
    crew_task task = {0};
    while (next_task(crew, &task)) {
        task.fn(task.arg);
        tkr_mutex_lock(&crew->lock);
        crew->n_busy--;
        if (crew->stop && crew->n_busy == 0) tkr_cond_broadcast(&crew->wake);
        tkr_mutex_unlock(&crew->lock);
    }
}

tkr_status tkr_crew_create(tkr_crew **out, unsigned n_threads, size_t max_queued, tkr_error *error) {
    size_t bytes = 0;
    if (n_threads == 0 || max_queued == 0 || !tkr_mul_size(&bytes, max_queued, sizeof(crew_task)))
        return TKR_FAIL(error, INVALID_ARGUMENT, "a crew of %u threads with room for %zu tasks; both must be above 0",
                        n_threads, max_queued);
    tkr_crew *crew = tkr_calloc(1, sizeof *crew);
    if (!crew) return TKR_FAIL(error, NO_MEMORY, "no memory for a crew");
    tkr_mutex_init(&crew->lock);
    tkr_cond_init(&crew->wake);
    crew->room = max_queued;
    crew->tasks = tkr_malloc(bytes);
    crew->threads = tkr_calloc(n_threads, sizeof(tkr_thread *));
    tkr_status status = TKR_OK;
    if (!crew->tasks || !crew->threads) status = TKR_FAIL(error, NO_MEMORY, "no memory for %zu tasks", max_queued);
    while (status == TKR_OK && crew->n_threads < n_threads) {
        status = tkr_thread_start(&crew->threads[crew->n_threads], "tkr-crew", work, crew, error);
        if (status == TKR_OK) crew->n_threads++;
    }
    if (status != TKR_OK) {
        tkr_crew_free(&crew);
        return status;
    }
    *out = crew;
    return TKR_OK;
}

bool tkr_crew_run(tkr_crew *crew, void (*fn)(void *arg), void *arg) {
    tkr_mutex_lock(&crew->lock);
    const size_t n = crew->n_queued;
    const bool taken = n < crew->room;
    const bool wake = crew->n_idle > 0;
    if (taken) {
        const size_t at = crew->first + n;
        crew->tasks[at < crew->room ? at : at - crew->room] = (crew_task){fn, arg};
        crew->n_queued++;
    }
    tkr_mutex_unlock(&crew->lock);
    if (taken && wake) tkr_cond_signal(&crew->wake);
    return taken;
}

void tkr_crew_free(tkr_crew **out) {
    if (!out || !*out) return;
    tkr_crew *crew = *out;
    tkr_mutex_lock(&crew->lock);
    crew->stop = true;
    tkr_cond_broadcast(&crew->wake);
    tkr_mutex_unlock(&crew->lock);
    for (unsigned i = 0; crew->threads && i < crew->n_threads; i++) tkr_thread_join(&crew->threads[i]);
    tkr_free(crew->threads);
    tkr_free(crew->tasks);
    tkr_cond_destroy(&crew->wake);
    tkr_mutex_destroy(&crew->lock);
    tkr_free(crew);
    *out = NULL;
}
