#define _GNU_SOURCE /* SOCK_NONBLOCK */

#include "crowd.h"

#include <err.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stamp.h"

enum { READ_BYTES = 1 << 18 };

/* One buffer for all: what a client must remember is in its scanner. */
static uint8_t buffer[CARRY_BYTES + READ_BYTES + SLACK_BYTES];
static uint8_t *const incoming = buffer + CARRY_BYTES;

struct delivery {
    struct client *client;
    struct world *world;
};

void gather(struct crowd *crowd, const struct records *requests, enum kind kind, size_t stalled,
            const struct interest *interest)
{
    memset(crowd, 0, sizeof *crowd);
    crowd->count = requests->count;
    crowd->clients = calloc(crowd->count ? crowd->count : 1, sizeof *crowd->clients);
    if (!crowd->clients)
        err(1, "clients");
    for (size_t i = 0; i < crowd->count; i++) {
        struct client *client = &crowd->clients[i];

        client->crowd = crowd;
        client->kind = i < stalled ? STALLED : kind;
        client->request = requests->items[i];
        init_response(&client->response);
        init_scanner(&client->scanner, client->kind == STEADY,
                     kind == STORM && interest->awaited);
    }
}

__attribute__((format(printf, 2, 3))) static void lose(struct client *client, const char *form,
                                                       ...)
{
    struct crowd *crowd = client->crowd;
    va_list values;

    if (client->phase < OPEN)
        crowd->unanswered--;
    client->phase = GONE;
    close(client->descriptor);
    if (client->kind == STALLED) {
        crowd->stalled_closed++;
        return;
    }
    if (!crowd->failed++) {
        va_start(values, form);
        vsnprintf(crowd->failure, sizeof crowd->failure, form, values);
        va_end(values);
    }
}

static void watch(struct client *client, struct world *world, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data = {.ptr = client}};

    if (epoll_ctl(world->epoll, operation, client->descriptor, &event))
        err(1, "epoll_ctl");
}

/* Sends the request; false while the connection is not there yet. */
static bool ask(struct client *client)
{
    ssize_t sent =
        send(client->descriptor, client->request.data, client->request.size, MSG_NOSIGNAL);

    if (sent < 0 && (errno == EAGAIN || errno == ENOTCONN || errno == EINPROGRESS))
        return false;
    client->phase = ASKED;
    if (sent < 0)
        lose(client, "asking: %s", strerror(errno));
    else if ((size_t)sent < client->request.size)
        lose(client, "the request did not fit into the socket");
    return true;
}

/* An unread connection is reset at the end, so that thousands of runs leave no TIME_WAIT. */
static void set_options(int descriptor)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

static void start(struct client *client, struct world *world)
{
    const struct addrinfo *address = world->address;

    client->crowd->unanswered++;
    client->phase = CONNECTING;
    client->asked_at = now_ns();
    client->descriptor = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->descriptor < 0)
        err(1, "socket");
    set_options(client->descriptor);
    if (connect(client->descriptor, address->ai_addr, address->ai_addrlen) &&
        errno != EINPROGRESS) {
        lose(client, "connecting: %s", strerror(errno));
        return;
    }
    /* On loopback the connection is there at once, and two system calls are saved. */
    if (!ask(client))
        watch(client, world, EPOLL_CTL_ADD, EPOLLOUT);
    else if (client->phase == ASKED)
        watch(client, world, EPOLL_CTL_ADD, EPOLLIN);
}

void connect_some(struct crowd *crowd, struct world *world, size_t limit, size_t ramp)
{
    if (!crowd->started)
        crowd->started_at = now_ns();
    while (limit-- && crowd->started < crowd->count && crowd->unanswered < ramp)
        start(&crowd->clients[crowd->started++], world);
}

bool is_all_answered(const struct crowd *crowd)
{
    return crowd->started == crowd->count && !crowd->unanswered;
}

static void take_events(void *context, uint8_t *data, size_t size)
{
    struct delivery *delivery = context;
    struct client *client = delivery->client;

    if (client->kind == STEADY)
        delivery->world->bytes_decoded += size;
    scan(&client->scanner, &delivery->world->reading, data, size);
}

static void take_body(void *context, uint8_t *data, size_t size)
{
    struct delivery *delivery = context;
    struct client *client = delivery->client;

    if (client->phase == OPEN && !decode(&client->decoder, data, size, take_events, context))
        lose(client, "the body is no valid stream of its coding");
}

/* Once the head is there: is it the stream that was asked for? */
static void open_stream(struct client *client, struct world *world)
{
    struct crowd *crowd = client->crowd;
    const struct response *response = &client->response;

    if (response->status != 200) {
        lose(client, "status %d", response->status);
        return;
    }
    if (response->coding != world->coding) {
        lose(client, "the body came in another coding than was asked for");
        return;
    }
    crowd->unanswered--;
    crowd->connected++;
    crowd->answered_at = world->reading.now;
    client->phase = OPEN;
    if (client->kind == STALLED)
        watch(client, world, EPOLL_CTL_MOD, EPOLLRDHUP);
    else
        open_decoder(&client->decoder, world->coding);
}

static void note_opening(struct client *client, uint64_t now)
{
    struct crowd *crowd = client->crowd;

    crowd->opened++;
    crowd->opened_at = now;
    observe(&crowd->opening, now - client->asked_at);
}

/* Nothing is taken of a head before it is whole, so that the body finds its decoder open. */
static void take_bytes(struct client *client, struct world *world, uint8_t *data, size_t size)
{
    struct response *response = &client->response;
    struct delivery delivery = {client, world};
    bool was_awaiting = client->scanner.is_awaiting;
    size_t taken = 0;

    if (client->phase == ASKED) {
        taken = take_head(response, data, size);
        if (response->state == BROKEN)
            lose(client, "the response makes no sense");
        else if (response->state != IN_HEAD)
            open_stream(client, world);
    }
    if (client->phase != OPEN || client->kind == STALLED)
        return;
    take_response(response, data + taken, size - taken, take_body, &delivery);
    if (was_awaiting && !client->scanner.is_awaiting)
        note_opening(client, world->reading.now);
    if (client->phase == OPEN && response->state == ENDED)
        lose(client, "the server ended the stream");
}

static void read_client(struct client *client, struct world *world)
{
    ssize_t size = recv(client->descriptor, incoming, READ_BYTES, 0);

    world->reading.now = now_ns();
    if (size > 0) {
        if (client->kind == STEADY)
            world->bytes_received += (uint64_t)size;
        take_bytes(client, world, incoming, (size_t)size);
    } else if (!size) {
        lose(client, "the server closed the connection");
    } else if (errno != EAGAIN) {
        lose(client, "reading: %s", strerror(errno));
    }
}

void serve_client(struct client *client, struct world *world, uint32_t readiness)
{
    if (client->phase == GONE)
        return;
    if (client->phase == CONNECTING) {
        if (ask(client) && client->phase == ASKED)
            watch(client, world, EPOLL_CTL_MOD, EPOLLIN);
    } else if (client->kind == STALLED && client->phase == OPEN) {
        if (readiness & (EPOLLERR | EPOLLHUP | EPOLLRDHUP))
            lose(client, "closed");
    } else {
        read_client(client, world);
    }
}
