#define _GNU_SOURCE /* memmem */

#include "feed.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "stamp.h"

#define STAMP_FIELD "@@@@@@@@@@@@@@@@@@@@"
#define COUNTER_FIELD "@@##########"

_Static_assert(sizeof STAMP_FIELD - 1 == STAMP_DIGITS, "a stamp replaces its field");
_Static_assert(sizeof COUNTER_FIELD - 1 == COUNTER_DIGITS, "a counter replaces its field");

enum {
    BATCH_BYTES = 1 << 18,
    BATCH_MESSAGES = 4096,
    MAX_UNANSWERED = 32,
};

/* Slices closer than this would be a system call a message, and gain nothing. */
static const uint64_t SLICE_NS = NS_PER_MS;

/* Messages on their way to the kernel; one batch at a time. */
static struct {
    uint8_t bytes[BATCH_BYTES];
    size_t starts[BATCH_MESSAGES];
    size_t count;
    size_t size;
} batch;

static struct template *find_fields(const struct records *messages)
{
    struct template *templates = calloc(messages->count, sizeof *templates);

    if (!templates)
        err(1, "messages");
    for (size_t i = 0; i < messages->count; i++) {
        struct record text = messages->items[i];

        if (text.size > BATCH_BYTES)
            errx(1, "a message has %zu bytes; up to %d can be sent", text.size, BATCH_BYTES);
        templates[i].text = text;
        templates[i].stamp = memmem(text.data, text.size, STAMP_FIELD, STAMP_DIGITS);
        templates[i].counter = memmem(text.data, text.size, COUNTER_FIELD, COUNTER_DIGITS);
    }
    return templates;
}

static int connect_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof address.sun_path)
        errx(1, "%s: too long for a socket's path", path);
    strcpy(address.sun_path, path);
    if (descriptor < 0 || connect(descriptor, (struct sockaddr *)&address, sizeof address))
        err(1, "feed %s", path);
    return descriptor;
}

static int connect_http(const char *address)
{
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    const char *colon = strrchr(address, ':');
    struct addrinfo *found;
    int descriptor, on = 1;
    char host[256];

    if (!colon || (size_t)(colon - address) >= sizeof host)
        errx(2, "--feed http:%s: http:HOST:PORT is expected", address);
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    if (getaddrinfo(host, colon + 1, &hints, &found))
        errx(1, "feed http:%s: no such address", address);
    descriptor = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0 || connect(descriptor, found->ai_addr, found->ai_addrlen))
        err(1, "feed http:%s", address);
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    freeaddrinfo(found);
    return descriptor;
}

static void watch(struct feed *feed, int operation)
{
    struct epoll_event event = {
        .events = EPOLLIN | (feed->waits_for_room ? EPOLLOUT : 0),
        .data = {.ptr = feed},
    };

    if (epoll_ctl(feed->epoll, operation, feed->descriptor, &event))
        err(1, "epoll_ctl");
}

void open_feed(struct feed *feed, const char *address, const struct records *messages,
               struct schedule *schedule, int epoll)
{
    memset(feed, 0, sizeof *feed);
    feed->descriptor = -1;
    feed->wake = UINT64_MAX;
    feed->schedule = schedule;
    feed->epoll = epoll;
    if (!address)
        return;
    if (!strncmp(address, "unix:", strlen("unix:"))) {
        feed->descriptor = connect_unix(address + strlen("unix:"));
    } else if (!strncmp(address, "http:", strlen("http:"))) {
        feed->descriptor = connect_http(address + strlen("http:"));
        feed->is_http = true;
        init_response(&feed->response);
    } else {
        errx(2, "--feed %s: unix:PATH or http:HOST:PORT is expected", address);
    }
    fcntl(feed->descriptor, F_SETFL, O_NONBLOCK);
    feed->templates = find_fields(messages);
    feed->template_count = messages->count;
    watch(feed, EPOLL_CTL_ADD);
}

/* ---- sending ------------------------------------------------------------------------- */

static void wait_for_room(struct feed *feed, bool waits)
{
    if (feed->waits_for_room != waits) {
        feed->waits_for_room = waits;
        watch(feed, EPOLL_CTL_MOD);
    }
}

/* How many of the bytes the kernel took. */
static size_t send_bytes(struct feed *feed, const uint8_t *data, size_t size)
{
    ssize_t sent = send(feed->descriptor, data, size, MSG_NOSIGNAL);

    if (sent < 0 && errno != EAGAIN)
        err(1, "the feed's connection broke");
    return sent < 0 ? 0 : (size_t)sent;
}

static void append(const struct feed *feed, uint64_t message)
{
    const struct template *template = &feed->templates[message % feed->template_count];
    const struct record *text = &template->text;
    uint8_t *at = batch.bytes + batch.size;

    memcpy(at, text->data, text->size);
    if (template->stamp)
        write_digits(at + (template->stamp - text->data), STAMP_DIGITS,
                     feed->stamp + batch.count);
    if (template->counter)
        write_digits(at + (template->counter - text->data), COUNTER_DIGITS, message);
    batch.starts[batch.count++] = batch.size;
    batch.size += text->size;
}

/* Renders what is due, each message with the time at which this is done. */
static void fill_batch(struct feed *feed, uint64_t now)
{
    uint64_t room = feed->is_http ? MAX_UNANSWERED - feed->unanswered : BATCH_MESSAGES;

    batch.count = batch.size = 0;
    feed->stamp = now > feed->stamp ? now : feed->stamp + 1; /* stamps only rise */
    for (uint64_t message = feed->next; message < feed->end && room; message++, room--) {
        size_t size = feed->templates[message % feed->template_count].text.size;

        if (due_at(feed->schedule, message) > now || batch.size + size > BATCH_BYTES)
            break;
        append(feed, message);
    }
}

static void note_sent(struct feed *feed, size_t count)
{
    uint64_t lag = feed->stamp - due_at(feed->schedule, feed->next);

    if (!count)
        return;
    add_slice(feed->schedule, feed->stamp, feed->next);
    if (feed->stamp >= feed->span[0] && feed->stamp < feed->span[1]) {
        feed->sent_in_span += count;
        if (lag > feed->largest_lag)
            feed->largest_lag = lag;
    }
    feed->next += count;
    feed->stamp += count;
    if (feed->is_http)
        feed->unanswered += count;
}

/* What the kernel did not begin to take is rendered anew later, with a later stamp. */
static void send_batch(struct feed *feed)
{
    size_t sent = send_bytes(feed, batch.bytes, batch.size);
    size_t begun = 0;
    size_t end;

    while (begun < batch.count && batch.starts[begun] < sent)
        begun++;
    end = begun < batch.count ? batch.starts[begun] : batch.size;
    feed->rest = batch.bytes + sent;
    feed->rest_size = begun ? end - sent : 0;
    note_sent(feed, begun);
    wait_for_room(feed, sent < batch.size);
}

static uint64_t next_wake(const struct feed *feed, uint64_t now)
{
    bool is_full = feed->is_http && feed->unanswered == MAX_UNANSWERED;
    uint64_t due;

    if (feed->next >= feed->end || is_full || feed->waits_for_room)
        return UINT64_MAX;
    due = due_at(feed->schedule, feed->next);
    if (due <= now)
        return now; /* more is due than one batch holds */
    return due > now + SLICE_NS ? due : now + SLICE_NS;
}

void pump(struct feed *feed, uint64_t now)
{
    if (feed->rest_size) {
        size_t sent = send_bytes(feed, feed->rest, feed->rest_size);

        feed->rest += sent;
        feed->rest_size -= sent;
        wait_for_room(feed, feed->rest_size);
    }
    if (!feed->rest_size) {
        fill_batch(feed, now);
        if (batch.count)
            send_batch(feed);
    }
    feed->wake = next_wake(feed, now);
}

/* ---- answers ------------------------------------------------------------------------- */

static void count_answer(struct feed *feed, bool is_accepted, const uint8_t *text, size_t size)
{
    if (is_accepted) {
        feed->acknowledged++;
    } else if (!feed->refused++) {
        snprintf(feed->refusal, sizeof feed->refusal, "%.*s", (int)size, (const char *)text);
    }
}

static size_t take_lines(struct feed *feed, const uint8_t *data, size_t size)
{
    static const char accepted[] = "\"ok\":true";
    const uint8_t *at = data;
    const uint8_t *newline;

    while ((newline = memchr(at, '\n', size - (size_t)(at - data)))) {
        size_t length = (size_t)(newline - at);

        count_answer(feed, memmem(at, length, accepted, strlen(accepted)), at, length);
        at = newline + 1;
    }
    return (size_t)(at - data);
}

static void ignore_body(void *context, uint8_t *data, size_t size)
{
    (void)context, (void)data, (void)size;
}

static size_t take_responses(struct feed *feed, uint8_t *data, size_t size)
{
    struct response *response = &feed->response;
    size_t at = 0;

    while (at < size) {
        at += take_response(response, data + at, size - at, ignore_body, NULL);
        if (response->state == BROKEN)
            errx(1, "the feed got an answer that makes no sense");
        if (response->state == ENDED) {
            count_answer(feed, response->status / 100 == 2, (uint8_t *)response->head,
                         strcspn(response->head, "\r"));
            feed->unanswered--;
            init_response(response);
        }
    }
    return size;
}

static void read_answers(struct feed *feed)
{
    ssize_t size =
        recv(feed->descriptor, feed->answers + feed->held, ANSWER_BYTES - feed->held, 0);
    size_t taken;

    if (size < 0 && errno == EAGAIN)
        return;
    if (size <= 0)
        errx(1, "the server closed the feed's connection");
    feed->held += (size_t)size;
    taken = feed->is_http ? take_responses(feed, feed->answers, feed->held)
                          : take_lines(feed, feed->answers, feed->held);
    feed->held -= taken;
    memmove(feed->answers, feed->answers + taken, feed->held);
    if (feed->held == ANSWER_BYTES)
        errx(1, "the feed got an answer that is too long");
}

void serve_feed(struct feed *feed, uint32_t readiness)
{
    bool was_full = feed->is_http && feed->unanswered == MAX_UNANSWERED;

    if (readiness & (EPOLLIN | EPOLLHUP | EPOLLERR))
        read_answers(feed);
    if (readiness & EPOLLOUT || (was_full && feed->unanswered < MAX_UNANSWERED))
        pump(feed, now_ns());
}
