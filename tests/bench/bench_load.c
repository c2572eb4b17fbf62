/* SPDX-License-Identifier: Apache-2.0 */
/* bench/bench_load: a load generator for HTTP/1.1 servers: one thread, epoll, keep-alive connections. Closed loop (each
 * connection sends its next request when it has its answer) or open loop (requests are due at fixed times, and latency
 * counts from then, so that a slow server can't slow its own measurement). Prints one JSON object.
 *
 * bench_load --port 8000 --path /embed/text --bodies bodies.jsonl --connections 64 --seconds 10 [--rate 500]
 *            [--unix SOCKET] [--warmup 1] [--header "Name: value"] [--from LINE] [--idle N] [--slow N] [--dribble N]
 *            [--expect FILE] [--retry N | --obey] [--pause S]
 *
 * --expect: for each body a line of the answer's FNV-1a hash in hex ("-": any) and its tokens; other answers count as
 * "wrong". --retry: one of N refused requests is sent again when Retry-After said, on a connection of its own, and is
 * due then; an answer to it is an answer like others, and is counted under "again" as well. --obey: in a closed loop
 * every refused request waits and comes again so. --pause: the only connection sends its next request so many seconds
 * after an answer. --idle, --slow, --dribble: connections that say nothing, half a request, or a byte a second; those
 * that the server cuts are opened again.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MAX_EVENTS = 256, IN_SIZE = 1 << 16, MAX_STATUS = 600, SILENT_TURNS = 50 };

/* With --pause it waits awake for the last part of a pause: a late timer isn't the server's. Elsewhere that would take
 * CPU time that the server is measured by. */
#define WAKE_SECONDS 0.0003

typedef struct connection {
    int fd;
    bool busy;           /* waits for an answer */
    double due;          /* when its request was due */
    size_t body, sent;   /* index of its request, bytes of it that went out */
    char head[4096];     /* of the answer, as far as it came */
    size_t n_head, left; /* left: bytes of the answer's body */
    uint64_t hash;       /* of what came of the body */
    bool in_body, close;
    bool again; /* it carries the second try of a refused request */
    int status;
} connection;

typedef struct request {
    char *bytes; /* head and body */
    size_t size;
    bool expects;
    uint64_t hash;
    size_t tokens; /* 0: the answer's header tells */
} request;

typedef struct retry {
    double due;
    size_t body;
} retry;

typedef struct options {
    const char *host, *path, *bodies, *header, *unix_path, *expect;
    int port;
    size_t connections, idle, slow, dribble, from, retry;
    bool obey;
    double seconds, warmup, rate, pause;
} options;

typedef struct load {
    options o;
    int epoll;
    connection *connections;
    size_t n_idle_stack, *idle_stack; /* connections without a request */
    request *requests;
    size_t n_requests, next_request;
    double *latencies; /* of answers with status 200 after the warm-up */
    size_t n_latencies, room;
    double *waiting; /* due times of requests that no connection was free for: a ring */
    size_t first_waiting, n_waiting, ring;
    retry *retries; /* that wait for their time */
    size_t n_retries, room_retries, n_refused;
    size_t next_silent;
    int *silent; /* [idle + slow + dribble] connections that are only there */
    uint64_t statuses[MAX_STATUS], again[MAX_STATUS], errors, tokens, bytes, wrong, cut;
    uint64_t retry_named, retry_missing;
    double begin, measure_from, end, next_due, retry_sum;
} load;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *what) {
    fprintf(stderr, "bench_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *allocate(size_t n, size_t each) {
    void *out = calloc(n ? n : 1, each);
    if (!out) die("memory");
    return out;
}

/* ---- requests ---- */

static void read_requests(load *l) {
    FILE *file = fopen(l->o.bodies, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    if (!file) die(l->o.bodies);
    while ((n = getline(&line, &room, file)) > 0) {
        if (line[n - 1] == '\n') n--;
        if (n == 0) continue;
        l->requests = realloc(l->requests, (l->n_requests + 1) * sizeof *l->requests);
        request *r = &l->requests[l->n_requests++];
        const size_t size = (size_t)n + strlen(l->o.path) + strlen(l->o.header) + 256;
        r->bytes = allocate(size, 1);
        const int head = snprintf(r->bytes, size,
                                  "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/json\r\n%s%s"
                                  "Content-Length: %zd\r\n\r\n",
                                  l->o.path, l->o.host, l->o.port, l->o.header, l->o.header[0] ? "\r\n" : "", n);
        memcpy(r->bytes + head, line, (size_t)n);
        r->size = (size_t)head + (size_t)n;
    }
    free(line);
    fclose(file);
    if (l->n_requests == 0) die("no bodies");
    l->next_request = l->o.from % l->n_requests;
}

static void read_expected(load *l) {
    FILE *file = fopen(l->o.expect, "r");
    if (!file) die(l->o.expect);
    for (size_t i = 0; i < l->n_requests; i++) {
        char hash[32];
        if (fscanf(file, "%31s %zu", hash, &l->requests[i].tokens) != 2) die("too few lines of what is expected");
        l->requests[i].expects = hash[0] != '-';
        l->requests[i].hash = strtoull(hash, NULL, 16);
    }
    fclose(file);
}

/* Requests have times of their own. */
static bool is_paced(const load *l) { return l->o.rate > 0 || l->o.pause > 0; }

/* ---- connections ---- */

static int open_socket(const load *l) {
    struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->o.port)};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    const bool is_local = l->o.unix_path != NULL;
    if (is_local) (void)snprintf(local.sun_path, sizeof local.sun_path, "%s", l->o.unix_path);
    inet_pton(AF_INET, l->o.host, &tcp.sin_addr);
    const int fd = socket(is_local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    if (connect(fd, is_local ? (struct sockaddr *)&local : (struct sockaddr *)&tcp,
                is_local ? sizeof local : sizeof tcp) != 0)
        die("connect");
    const int one = 1;
    if (!is_local) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
}

static void watch(load *l, connection *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(l->epoll, operation, c->fd, &event) != 0) die("epoll_ctl");
}

static void rest(load *l, connection *c) {
    c->busy = c->again = false;
    if (l->o.pause > 0) l->next_due = now() + l->o.pause;
    l->idle_stack[l->n_idle_stack++] = (size_t)(c - l->connections);
}

static void reopen(load *l, connection *c) {
    close(c->fd);
    c->fd = open_socket(l);
    c->n_head = 0;
    c->in_body = false;
    watch(l, c, EPOLL_CTL_ADD, EPOLLIN);
}

static void send_more(load *l, connection *c) {
    const request *r = &l->requests[c->body];
    while (c->sent < r->size) {
        const ssize_t n = send(c->fd, r->bytes + c->sent, r->size - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            watch(l, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
        if (n < 0) return; /* the read will tell */
        c->sent += (size_t)n;
    }
    watch(l, c, EPOLL_CTL_MOD, EPOLLIN);
}

static void start_with(load *l, connection *c, double due, size_t body, bool again) {
    c->busy = true;
    c->again = again;
    c->due = due;
    c->sent = 0;
    c->body = body;
    send_more(l, c);
}

static void start(load *l, connection *c, double due) {
    start_with(l, c, due, l->next_request, false);
    l->next_request = (l->next_request + 1) % l->n_requests;
}

/* ---- answers ---- */

static const char *field(const connection *c, const char *name) {
    const size_t n = strlen(name);
    for (const char *at = strchr(c->head, '\n'); at; at = strchr(at, '\n')) {
        at++;
        if (strncasecmp(at, name, n) == 0 && at[n] == ':') return at + n + 1 + strspn(at + n + 1, " ");
    }
    return NULL;
}

static void note_ok(load *l, const connection *c, double t) {
    const request *r = &l->requests[c->body];
    const char *tokens = field(c, "x-compute-tokens");
    if (l->n_latencies == l->room) {
        l->room = l->room ? 2 * l->room : 1u << 16;
        l->latencies = realloc(l->latencies, l->room * sizeof *l->latencies);
        if (!l->latencies) die("memory");
    }
    l->latencies[l->n_latencies++] = t - c->due;
    l->tokens += r->tokens ? r->tokens : tokens ? strtoull(tokens, NULL, 10) : 0;
}

/* The request is to come again at that time. */
static void come_again(load *l, const connection *c, double due) {
    if (l->n_retries == l->room_retries) {
        l->room_retries = l->room_retries ? 2 * l->room_retries : 64;
        l->retries = realloc(l->retries, l->room_retries * sizeof *l->retries);
        if (!l->retries) die("memory");
    }
    l->retries[l->n_retries++] = (retry){due, c->body};
}

static void note(load *l, const connection *c) {
    const double t = now();
    const request *r = &l->requests[c->body];
    const int status = c->status > 0 && c->status < MAX_STATUS ? c->status : 0;
    if (status == 200 && r->expects && c->hash != r->hash) l->wrong++;
    if (t < l->measure_from || t > l->end) return;
    if (c->again) l->again[status]++;
    l->statuses[status]++;
    if (status == 200) note_ok(l, c, t);
    if (status != 429 && status != 503) return;
    const char *after = field(c, "retry-after-ms");
    l->retry_named += after != NULL;
    l->retry_missing += !after || !field(c, "retry-after");
    l->retry_sum += after ? strtod(after, NULL) / 1000 : 0;
    if (after && l->o.retry && !c->again && l->n_refused++ % l->o.retry == 0)
        come_again(l, c, t + strtod(after, NULL) / 1000);
}

static void answered(load *l, connection *c) {
    note(l, c);
    const bool close_it = c->close, obeys = l->o.obey && (c->status == 429 || c->status == 503);
    const char *after = obeys ? field(c, "retry-after-ms") : NULL;
    if (obeys) come_again(l, c, now() + (after ? strtod(after, NULL) / 1000 : 1));
    c->n_head = 0;
    c->in_body = false;
    if (close_it) reopen(l, c);
    if (is_paced(l)) {
        if (l->n_waiting > 0) {
            const double due = l->waiting[l->first_waiting];
            l->first_waiting = (l->first_waiting + 1) % l->ring;
            l->n_waiting--;
            start(l, c, due);
        } else {
            rest(l, c);
        }
    } else if (obeys) {
        rest(l, c);
    } else {
        start(l, c, now());
    }
}

static void head_came(connection *c) {
    const char *length = field(c, "content-length"), *connection_field = field(c, "connection");
    c->status = atoi(c->head + 9);
    c->left = length ? strtoull(length, NULL, 10) : 0;
    c->hash = 0xcbf29ce484222325u;
    c->close = connection_field && strncasecmp(connection_field, "close", 5) == 0;
    c->in_body = true;
}

/* Takes what was read apart: one answer may come in pieces. */
static void take(load *l, connection *c, const char *data, size_t n) {
    l->bytes += n;
    while (n > 0) {
        if (!c->in_body) {
            if (c->n_head + 1 >= sizeof c->head) die("a head of more than 4 KiB");
            c->head[c->n_head++] = *data++;
            n--;
            c->head[c->n_head] = '\0';
            if (c->n_head >= 4 && memcmp(c->head + c->n_head - 4, "\r\n\r\n", 4) == 0) head_came(c);
        } else {
            const size_t some = n < c->left ? n : c->left;
            for (size_t i = 0; l->o.expect && i < some; i++) c->hash = (c->hash ^ (uint8_t)data[i]) * 0x100000001b3u;
            c->left -= some;
            data += some;
            n -= some;
        }
        if (c->in_body && c->left == 0) answered(l, c);
    }
}

static void readable(load *l, connection *c) {
    static char in[IN_SIZE];
    const int fd = c->fd;
    for (;;) {
        const ssize_t n = recv(fd, in, sizeof in, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n <= 0) {
            if (c->busy) l->errors++;
            const bool was_busy = c->busy;
            reopen(l, c);
            if (was_busy && is_paced(l)) rest(l, c);
            if (was_busy && !is_paced(l)) start(l, c, now());
            return;
        }
        take(l, c, in, (size_t)n);
        if (c->fd != fd || (size_t)n < sizeof in) return;
    }
}

/* ---- the loop ---- */

/* Open loop: what is due now goes out, or waits for a connection. */
static void send_due(load *l) {
    const double t = now();
    while (l->next_due <= t && l->next_due < l->end) {
        if (l->n_idle_stack > 0) {
            start(l, &l->connections[l->idle_stack[--l->n_idle_stack]], l->next_due);
        } else if (l->n_waiting < l->ring) {
            l->waiting[(l->first_waiting + l->n_waiting++) % l->ring] = l->next_due;
        } else {
            l->errors++;
        }
        /* After a pause's request rest() tells, once it is answered. */
        l->next_due = l->o.pause > 0 ? l->end : l->next_due + 1 / l->o.rate;
    }
}

static void send_retries(load *l) {
    const double t = now();
    for (size_t i = 0; i < l->n_retries && l->n_idle_stack > 0;) {
        const retry r = l->retries[i];
        if (r.due > t) {
            i++;
            continue;
        }
        l->retries[i] = l->retries[--l->n_retries];
        start_with(l, &l->connections[l->idle_stack[--l->n_idle_stack]], r.due, r.body, true);
    }
}

/* A connection of the silent kind: those before `idle` say nothing, those before `idle + slow` half a request. */
static int open_silent(const load *l, size_t i) {
    static const char half[] = "POST /embed/text HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{";
    const int fd = open_socket(l);
    if (i >= l->o.idle && i < l->o.idle + l->o.slow) (void)!send(fd, half, sizeof half - 1, MSG_NOSIGNAL);
    return fd;
}

/* Looks at some of them, so that each has its turn about once a second: those that were cut come again, the last kind
 * says its next byte, of a head that never ends. */
static void keep_silent(load *l) {
    const size_t n = l->o.idle + l->o.slow + l->o.dribble;
    for (size_t k = 0; k < n / SILENT_TURNS + 1; k++) {
        const size_t i = l->next_silent;
        char in[512];
        const bool dribbles = i >= l->o.idle + l->o.slow;
        const ssize_t got = recv(l->silent[i], in, sizeof in, MSG_DONTWAIT);
        const bool open = got < 0 && errno == EAGAIN && (!dribbles || send(l->silent[i], "G", 1, MSG_NOSIGNAL) == 1);
        l->next_silent = (i + 1) % n;
        if (open) continue;
        close(l->silent[i]);
        l->silent[i] = open_silent(l, i);
        l->cut++;
    }
}

static void run(load *l) {
    struct epoll_event events[MAX_EVENTS];
    double silent_at = l->begin;
    if (!is_paced(l))
        while (l->n_idle_stack > 0) start(l, &l->connections[l->idle_stack[--l->n_idle_stack]], now());
    for (double t = now(); t < l->end; t = now()) {
        struct timespec wait = {0, 20000000};
        if (is_paced(l)) {
            const double gap = l->next_due - t, awake = l->o.pause > 0 ? WAKE_SECONDS : 0;
            wait.tv_nsec = gap <= awake ? 0 : gap - awake < 0.02 ? (long)((gap - awake) * 1e9) : 20000000;
        }
        const int n = epoll_pwait2(l->epoll, events, MAX_EVENTS, &wait, NULL);
        if (is_paced(l)) send_due(l);
        send_retries(l);
        for (int i = 0; i < n; i++) {
            connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) send_more(l, c);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(l, c);
        }
        if (l->silent && t > silent_at) {
            silent_at = t + 1.0 / SILENT_TURNS;
            keep_silent(l);
        }
    }
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double quantile(const load *l, double q) {
    return l->n_latencies ? l->latencies[(size_t)(q * (double)(l->n_latencies - 1))] * 1e3 : 0;
}

static double mean(const load *l) {
    double sum = 0;
    for (size_t i = 0; i < l->n_latencies; i++) sum += l->latencies[i];
    return l->n_latencies ? sum / (double)l->n_latencies * 1e3 : 0;
}

static void report_statuses(const uint64_t counts[MAX_STATUS]) {
    bool first = true;
    for (int i = 0; i < MAX_STATUS; i++) {
        if (counts[i] == 0) continue;
        printf("%s\"%d\": %llu", first ? "" : ", ", i, (unsigned long long)counts[i]);
        first = false;
    }
}

static void report(load *l) {
    const double seconds = l->end - l->measure_from;
    qsort(l->latencies, l->n_latencies, sizeof *l->latencies, by_value);
    printf("{\"connections\": %zu, \"rate\": %.3f, \"seconds\": %.3f, \"ok\": %zu, \"ok_per_s\": %.3f, "
           "\"tokens_per_s\": %.1f, \"mean_ms\": %.3f, \"p50_ms\": %.3f, \"p90_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"p999_ms\": %.3f, "
           "\"max_ms\": %.3f, \"errors\": %llu, \"unsent\": %zu, \"retry_after_missing\": %llu, "
           "\"retry_after_mean_s\": %.3f, \"statuses\": {",
           l->o.connections, l->o.rate, seconds, l->n_latencies, (double)l->n_latencies / seconds,
           (double)l->tokens / seconds, mean(l), quantile(l, 0.5), quantile(l, 0.9), quantile(l, 0.99),
           quantile(l, 0.999), quantile(l, 1), (unsigned long long)l->errors, l->n_waiting,
           (unsigned long long)l->retry_missing, l->retry_named ? l->retry_sum / (double)l->retry_named : 0);
    report_statuses(l->statuses);
    printf("}, \"again\": {");
    report_statuses(l->again);
    printf("}, \"wrong\": %llu, \"cut\": %llu}\n", (unsigned long long)l->wrong, (unsigned long long)l->cut);
}

static size_t count(const char *text) { return (size_t)strtoull(text, NULL, 10); }

static void parse(options *o, int argc, char **argv) {
    static const struct option names[] = {
        {"host", 1, NULL, 'h'},   {"port", 1, NULL, 'p'},    {"path", 1, NULL, 'P'},   {"bodies", 1, NULL, 'b'},
        {"header", 1, NULL, 'H'}, {"seconds", 1, NULL, 's'}, {"rate", 1, NULL, 'r'},   {"connections", 1, NULL, 'c'},
        {"warmup", 1, NULL, 'w'}, {"idle", 1, NULL, 'i'},    {"slow", 1, NULL, 'S'},   {"dribble", 1, NULL, 'd'},
        {"from", 1, NULL, 'f'},   {"unix", 1, NULL, 'u'},    {"expect", 1, NULL, 'e'}, {"retry", 1, NULL, 'R'},
        {"obey", 0, NULL, 'o'},   {"pause", 1, NULL, 'z'},   {NULL, 0, NULL, 0}};
    for (int letter; (letter = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (letter) {
        case 'h': o->host = optarg; break;
        case 'p': o->port = atoi(optarg); break;
        case 'P': o->path = optarg; break;
        case 'b': o->bodies = optarg; break;
        case 'H': o->header = optarg; break;
        case 's': o->seconds = strtod(optarg, NULL); break;
        case 'r': o->rate = strtod(optarg, NULL); break;
        case 'c': o->connections = count(optarg); break;
        case 'w': o->warmup = strtod(optarg, NULL); break;
        case 'i': o->idle = count(optarg); break;
        case 'S': o->slow = count(optarg); break;
        case 'd': o->dribble = count(optarg); break;
        case 'f': o->from = count(optarg); break;
        case 'u': o->unix_path = optarg; break;
        case 'e': o->expect = optarg; break;
        case 'R': o->retry = count(optarg); break;
        case 'o': o->obey = true; break;
        case 'z': o->pause = strtod(optarg, NULL); break;
        default: exit(2);
        }
    }
}

int main(int argc, char **argv) {
    load l = {.o = {.host = "127.0.0.1",
                    .path = "/embed/text",
                    .header = "",
                    .port = 8000,
                    .connections = 1,
                    .seconds = 5,
                    .warmup = 1}};
    parse(&l.o, argc, argv);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (!l.o.bodies) {
        fprintf(stderr, "bench_load: --bodies FILE is needed: a JSON body a line\n");
        return 2;
    }
    if (l.o.pause > 0 && (l.o.connections != 1 || l.o.rate > 0)) {
        fprintf(stderr, "bench_load: --pause is for one connection without --rate\n");
        return 2;
    }
    read_requests(&l);
    if (l.o.expect) read_expected(&l);
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    l.connections = allocate(l.o.connections, sizeof *l.connections);
    l.idle_stack = allocate(l.o.connections, sizeof *l.idle_stack);
    l.ring = l.o.rate > 0 ? (size_t)(l.o.rate * (l.o.seconds + l.o.warmup)) + 1 : 1;
    l.waiting = allocate(l.ring, sizeof *l.waiting);
    const size_t n_silent = l.o.idle + l.o.slow + l.o.dribble;
    if (n_silent) l.silent = allocate(n_silent, sizeof *l.silent);
    for (size_t i = 0; i < n_silent; i++) l.silent[i] = open_silent(&l, i);
    for (size_t i = 0; i < l.o.connections; i++) {
        connection *c = &l.connections[i];
        c->fd = open_socket(&l);
        watch(&l, c, EPOLL_CTL_ADD, EPOLLIN);
        rest(&l, c);
    }
    l.begin = l.next_due = now();
    l.measure_from = l.begin + l.o.warmup;
    l.end = l.measure_from + l.o.seconds;
    run(&l);
    report(&l);
    return 0;
}
