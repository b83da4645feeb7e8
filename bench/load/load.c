/* The load client: opens streams, feeds events and measures what arrives, on one core.
 *
 * One process, one thread, epoll. Nothing is allocated or copied per event, so that it stays
 * cheaper than any server it measures. `load --help` lists the options; what it prints is read
 * by bench.load.
 *
 *   records.c   files of requests and messages        feed.c      messages out, answers in
 *   crowd.c     connections                           schedule.h  when each message was due
 *   response.c  HTTP heads and chunks                 events.c    events found and counted
 *   decoder.c   gzip, zstd                            histogram.h latencies
 *
 * Stages: connect all; warm up; the span that is measured; drain, which ends early once every
 * client has every event.
 */
#define _GNU_SOURCE

#include <err.h>
#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "crowd.h"
#include "feed.h"
#include "options.h"
#include "stamp.h"

enum { READY = 256, STARTS_AT_ONCE = 32, CONNECT_SECONDS = 60 };
enum stage { CONNECT, WARM_UP, SPAN, DRAIN, DONE };

struct run {
    struct options options;
    enum stage stage;
    uint64_t stage_end;
    uint64_t storm_at;
    uint64_t wake; /* when something is to be done */
    uint64_t armed; /* for when the timer is set */
    int timer;
    uint64_t cpu_at_begin;
    uint64_t cpu_at_end;
    uint64_t span[2];
    struct interest interest;
    struct schedule schedule;
    struct tally tally;
    struct world world;
    struct crowd crowd;
    struct crowd storm;
    struct feed feed;
};

static uint64_t ns(double seconds) { return (uint64_t)(seconds * (double)NS_PER_SECOND); }

static void announce(const char *stage)
{
    puts(stage);
    fflush(stdout);
}

/* ---- stages --------------------------------------------------------------------------- */

static void start_warm_up(struct run *run, uint64_t now)
{
    const struct options *options = &run->options;

    announce("connected");
    run->stage = WARM_UP;
    run->wake = now;
    run->span[0] = run->tally.span_begin = now + ns(options->warmup);
    run->span[1] = run->tally.span_end = run->span[0] + ns(options->seconds);
    run->stage_end = run->span[0];
    run->storm_at = run->storm.count ? run->span[0] + ns(options->seconds / 2) : UINT64_MAX;
    if (options->rate > 0) {
        run->schedule.start = now;
        run->schedule.period_ns = (double)NS_PER_SECOND / options->rate;
        run->feed.end = (uint64_t)ceil((options->warmup + options->seconds) * options->rate);
        run->feed.wake = now;
    }
}

static void start_span(struct run *run)
{
    announce("begin");
    run->stage = SPAN;
    run->stage_end = run->span[1];
    run->world.bytes_received = run->world.bytes_decoded = 0;
    run->cpu_at_begin = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static void start_drain(struct run *run)
{
    run->cpu_at_end = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    announce("end");
    run->stage = DRAIN;
    run->stage_end = run->span[1] + ns(run->options.drain);
    run->feed.end = run->feed.next; /* what was not sent by now is not sent */
    run->feed.wake = UINT64_MAX;
}

static bool is_drained(const struct run *run)
{
    const struct crowd *storm = &run->storm;
    size_t steady = run->crowd.count - run->options.stall;
    size_t fan_out = run->options.fan_out ? run->options.fan_out : steady;

    return run->tally.delivered == run->feed.sent_in_span * fan_out && !run->feed.unanswered &&
           storm->opened + storm->failed == storm->count;
}

static void go_on(struct run *run, uint64_t now)
{
    if (run->stage == CONNECT && is_all_answered(&run->crowd))
        start_warm_up(run, now);
    if (run->stage == WARM_UP && now >= run->stage_end)
        start_span(run);
    if (run->stage == SPAN && now >= run->stage_end)
        start_drain(run);
    if (run->stage == DRAIN && (now >= run->stage_end || is_drained(run)))
        run->stage = DONE;
    if (run->stage == CONNECT && now >= run->stage_end)
        errx(1, "%zu of %zu clients had no answer after %d s", run->crowd.unanswered,
             run->crowd.count, CONNECT_SECONDS);
}

static uint64_t earlier(uint64_t one, uint64_t other) { return one < other ? one : other; }

/* Does what time asks for; returns when it will ask again. */
static uint64_t on_time(struct run *run, uint64_t now)
{
    if (now >= run->feed.wake)
        pump(&run->feed, now);
    if (now >= run->storm_at && run->storm.started < run->storm.count) {
        /* All at once, but a few a turn: the others are read meanwhile. */
        connect_some(&run->storm, &run->world, STARTS_AT_ONCE, SIZE_MAX);
        if (run->storm.started < run->storm.count)
            return now;
    }
    go_on(run, now);
    return earlier(earlier(run->feed.wake, run->stage_end),
                   run->storm.started ? UINT64_MAX : run->storm_at);
}

/* ---- the loop ------------------------------------------------------------------------- */

static void arm(struct run *run)
{
    struct itimerspec time = {.it_value = {
                                  .tv_sec = (time_t)(run->wake / NS_PER_SECOND),
                                  .tv_nsec = (long)(run->wake % NS_PER_SECOND),
                              }};

    if (run->wake == run->armed)
        return;
    run->armed = run->wake;
    if (timerfd_settime(run->timer, TFD_TIMER_ABSTIME, &time, NULL))
        err(1, "timerfd_settime");
}

static void dispatch(struct run *run, const struct epoll_event *event)
{
    if (event->data.ptr == &run->feed)
        serve_feed(&run->feed, event->events);
    else if (event->data.ptr != &run->timer) /* the timer has done its work by waking us */
        serve_client(event->data.ptr, &run->world, event->events);
}

static void loop(struct run *run)
{
    struct epoll_event ready[READY];

    run->wake = run->stage_end = now_ns() + CONNECT_SECONDS * NS_PER_SECOND;
    while (run->stage != DONE) {
        int count;

        if (run->stage == CONNECT) {
            connect_some(&run->crowd, &run->world, SIZE_MAX, run->options.ramp);
            go_on(run, now_ns());
        }
        run->wake = earlier(run->wake, run->feed.wake);
        arm(run);
        count = epoll_wait(run->world.epoll, ready, READY, -1);
        if (count < 0 && errno != EINTR)
            err(1, "epoll_wait");
        for (int i = 0; i < count; i++) {
            uint64_t now;

            dispatch(run, &ready[i]);
            now = now_ns();
            if (now >= run->wake) {
                run->wake = on_time(run, now);
                run->armed = 0; /* the timer has fired, or was overtaken */
            }
        }
        if (run->stage == DRAIN)
            go_on(run, now_ns());
    }
}

/* ---- the report ----------------------------------------------------------------------- */

static double us(uint64_t nanoseconds) { return (double)nanoseconds / 1000; }

static void print_text(const char *name, const char *text)
{
    printf("\"%s\":\"", name);
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text >= ' ')
            putchar(*text);
    printf("\",");
}

static void print_latency(const char *name, const struct histogram *latency)
{
    double mean = latency->count ? us(latency->sum) / (double)latency->count : 0;

    printf("\"%s\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f,"
           "\"mean\":%.1f},",
           name, us(percentile(latency, 0.5)), us(percentile(latency, 0.9)),
           us(percentile(latency, 0.99)), us(percentile(latency, 0.999)), us(latency->max), mean);
}

static void print_crowd(const struct run *run)
{
    const struct crowd *crowd = &run->crowd;

    printf("\"clients\":%zu,\"connected\":%zu,\"connect_seconds\":%.4f,\"failed\":%zu,"
           "\"stalled_closed\":%zu,",
           crowd->count, crowd->connected,
           (double)(crowd->answered_at - crowd->started_at) / (double)NS_PER_SECOND,
           crowd->failed, crowd->stalled_closed);
    print_text("failure", crowd->failure);
}

static void print_feed(const struct run *run)
{
    const struct feed *feed = &run->feed;

    printf("\"events_sent\":%lu,\"events_sent_total\":%lu,\"acknowledged\":%lu,"
           "\"refused\":%lu,\"feed_lag_ms_max\":%.3f,",
           feed->sent_in_span, feed->next, feed->acknowledged, feed->refused,
           us(feed->largest_lag) / 1000);
    print_text("refusal", feed->refusal);
}

static void print_storm(const struct crowd *storm)
{
    double seconds = (double)(storm->opened_at - storm->started_at) / (double)NS_PER_SECOND;

    if (!storm->count)
        return;
    printf("\"storm\":{\"clients\":%zu,\"connected\":%zu,\"opened\":%zu,\"failed\":%zu,"
           "\"seconds\":%.4f,\"opened_per_second\":%.0f,",
           storm->count, storm->connected, storm->opened, storm->failed,
           storm->opened ? seconds : 0, storm->opened ? (double)storm->opened / seconds : 0);
    print_latency("opening_us", &storm->opening);
    print_text("failure", storm->failure);
    printf("\"asked\":%zu},", storm->started);
}

static void report(const struct run *run)
{
    const struct tally *tally = &run->tally;
    double seconds = run->options.seconds;

    printf("{");
    print_crowd(run);
    print_feed(run);
    print_storm(&run->storm);
    print_latency("latency_us", &tally->since_due);
    print_latency("latency_sent_us", &tally->since_sent);
    printf("\"delivered\":%lu,\"other_events\":%lu,\"holes\":%lu,\"duplicates\":%lu,"
           "\"order_errors\":%lu,\"bytes_received\":%lu,\"bytes_decoded\":%lu,\"seconds\":%.3f,"
           "\"deliveries_per_second\":%.1f,\"load_cpu_seconds\":%.3f}\n",
           tally->delivered, tally->other_events, tally->holes, tally->duplicates,
           tally->order_errors, run->world.bytes_received, run->world.bytes_decoded, seconds,
           seconds > 0 ? (double)tally->delivered / seconds : 0,
           (double)(run->cpu_at_end - run->cpu_at_begin) / (double)NS_PER_SECOND);
}

/* ---- the start ------------------------------------------------------------------------ */

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit))
        err(1, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit))
        err(1, "setrlimit");
}

static const struct addrinfo *resolve(const struct options *options)
{
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    int problem = getaddrinfo(options->host, options->port, &hints, &found);

    if (problem)
        errx(1, "%s:%s: %s", options->host, options->port, gai_strerror(problem));
    return found;
}

static void prepare(struct run *run)
{
    const struct options *options = &run->options;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data = {.ptr = &run->timer}};

    run->interest = (struct interest){
        .mark = options->mark,
        .mark_size = strlen(options->mark),
        .awaited = options->until,
        .awaited_size = options->until ? strlen(options->until) : 0,
        .counter_step = options->counter_step,
        .checks_ids = options->checks_ids,
    };
    run->tally.span_begin = run->tally.span_end = UINT64_MAX;
    run->world.address = resolve(options);
    run->world.coding = options->coding;
    run->world.reading = (struct reading){&run->interest, &run->schedule, &run->tally, 0};
    run->world.epoll = epoll_create1(EPOLL_CLOEXEC);
    run->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (run->world.epoll < 0 || run->timer < 0 ||
        epoll_ctl(run->world.epoll, EPOLL_CTL_ADD, run->timer, &event))
        err(1, "epoll");
    run->storm_at = UINT64_MAX;
}

static void gather_all(struct run *run)
{
    const struct options *options = &run->options;
    struct records requests = read_records(options->requests);
    struct records none = {NULL, 0};
    struct records storm = options->storm ? read_records(options->storm) : none;
    struct records messages = options->events ? read_records(options->events) : none;

    if (options->stall > requests.count)
        errx(2, "--stall is more than there are clients");
    if (options->rate > 0 && !messages.count)
        errx(2, "%s holds no message", options->events);
    gather(&run->crowd, &requests, STEADY, options->stall, &run->interest);
    gather(&run->storm, &storm, STORM, 0, &run->interest);
    open_feed(&run->feed, options->feed, &messages, &run->schedule, run->world.epoll);
    run->feed.span = run->span;
}

int main(int count, char **words)
{
    static struct run run;
    const char *lacking;

    run.options = parse_options(count, words);
    lacking = lacking_for(run.options.coding);
    if (lacking)
        errx(3, "%s", lacking);
    raise_descriptor_limit();
    prepare(&run);
    gather_all(&run);
    loop(&run);
    report(&run);
    return 0;
}
