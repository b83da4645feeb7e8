/* The limit of writing each event to each client: one send() for each, and nothing else.
 *
 * usage: send_loop HOST PORT FEED_PATH BACKLOG
 *
 * Clients come over TCP and get a response that ends with the connection; events come over a
 * Unix socket, one line of JSON each. A yardstick, not a server: send() blocks until the kernel
 * has taken the whole event, so a client that stops reading stops everybody.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_DESCRIPTORS = 65536, MAX_LINE = 1 << 20, MAX_READY = 512 };

static const char HEAD[] =
    "HTTP/1.1 200 OK\r\n"
    "Content-Type: text/event-stream\r\n"
    "Cache-Control: no-cache\r\n"
    "Connection: close\r\n"
    "\r\n";

enum role { NOTHING, LISTENER, FEED_LISTENER, REQUEST, CLIENT, FEED };

static enum role roles[MAX_DESCRIPTORS];
static int clients[MAX_DESCRIPTORS];    /* descriptors of open streams, packed */
static int positions[MAX_DESCRIPTORS];  /* where a descriptor stands among them */
static int client_count;
static int epoll;

static char unread[MAX_LINE]; /* the feed's bytes that are no whole line yet */
static size_t unread_length;
static uint64_t number;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int descriptor, enum role role) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = descriptor};
    roles[descriptor] = role;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event)) fail("epoll_ctl");
}

static void drop(int descriptor) {
    if (roles[descriptor] == CLIENT) {
        int last = clients[--client_count];
        clients[positions[descriptor]] = last;
        positions[last] = positions[descriptor];
    }
    roles[descriptor] = NOTHING;
    close(descriptor);
}

static void accept_all(int listener, enum role role) {
    for (;;) {
        int descriptor = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (descriptor < 0) return;
        if (descriptor >= MAX_DESCRIPTORS) {
            close(descriptor);
            continue;
        }
        int on = 1;
        if (role == REQUEST) setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(descriptor, role);
    }
}

/* Answers a request, which is taken to arrive in one piece. */
static void open_stream(int descriptor) {
    char request[4096];
    if (recv(descriptor, request, sizeof request, 0) <= 0 ||
        send(descriptor, HEAD, sizeof HEAD - 1, MSG_NOSIGNAL) < 0) {
        drop(descriptor);
        return;
    }
    roles[descriptor] = CLIENT;
    positions[descriptor] = client_count;
    clients[client_count++] = descriptor;
}

static void broadcast(const char *data, size_t length) {
    static char frame[MAX_LINE + 128];
    int size = snprintf(frame, sizeof frame,
                        "event: price:update\ndata: %.*s\nid: %llu\nretry: 5000\n\n", (int)length,
                        data, (unsigned long long)++number);
    for (int i = client_count - 1; i >= 0; i--) { /* from behind: drop() moves the last one */
        if (send(clients[i], frame, (size_t)size, MSG_NOSIGNAL) != size) drop(clients[i]);
    }
}

static void read_feed(int descriptor) {
    ssize_t got = recv(descriptor, unread + unread_length, sizeof unread - unread_length, 0);
    if (got <= 0) {
        unread_length = 0;
        drop(descriptor);
        return;
    }
    unread_length += (size_t)got;
    char *line = unread, *end;
    while ((end = memchr(line, '\n', unread_length - (size_t)(line - unread)))) {
        broadcast(line, (size_t)(end - line));
        line = end + 1;
    }
    unread_length -= (size_t)(line - unread);
    memmove(unread, line, unread_length);
}

static int listen_tcp(const char *host, int port, int backlog) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1 ||
        bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, backlog))
        fail("listening");
    return listener;
}

static int listen_unix(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16))
        fail("listening for the feed");
    return listener;
}

int main(int count, char **words) {
    if (count != 5) {
        fprintf(stderr, "usage: send_loop HOST PORT FEED_PATH BACKLOG\n");
        return 2;
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(listen_unix(words[3]), FEED_LISTENER);
    watch(listen_tcp(words[1], atoi(words[2]), atoi(words[4])), LISTENER);
    for (;;) {
        struct epoll_event ready[MAX_READY];
        int ready_count = epoll_wait(epoll, ready, MAX_READY, -1);
        for (int i = 0; i < ready_count; i++) {
            int descriptor = ready[i].data.fd;
            switch (roles[descriptor]) {
            case LISTENER: accept_all(descriptor, REQUEST); break;
            case FEED_LISTENER: accept_all(descriptor, FEED); break;
            case REQUEST: open_stream(descriptor); break;
            case FEED: read_feed(descriptor); break;
            case CLIENT: drop(descriptor); break; /* it has nothing more to say */
            case NOTHING: break; /* dropped earlier in this round */
            }
        }
    }
}
