/* The clients: connections that each ask for a stream and read it. */
#ifndef CROWD_H
#define CROWD_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "decoder.h"
#include "events.h"
#include "records.h"
#include "response.h"

enum kind {
    STEADY,  /* reads, and is counted */
    STALLED, /* reads its response head and no further */
    STORM,   /* comes late; only its opening is measured */
};

enum phase { UNOPENED, CONNECTING, ASKED, OPEN, GONE };

struct crowd;

struct client {
    struct crowd *crowd;
    int descriptor;
    enum kind kind;
    enum phase phase;
    struct scanner scanner;
    struct decoder decoder;
    uint64_t asked_at;
    struct record request;
    struct response response;
};

/* Clients of one kind of purpose: those that are there all the time, or a storm. */
struct crowd {
    struct client *clients;
    size_t count;
    size_t started;    /* that have begun to connect */
    size_t unanswered; /* of these, that have no response head yet */
    size_t connected;  /* that got a 200 in the right coding */
    size_t failed;     /* that did not, or whose stream ended or made no sense */
    size_t opened;     /* that got what is awaited */
    size_t stalled_closed;
    uint64_t started_at;
    uint64_t answered_at; /* when the last response head came */
    uint64_t opened_at;   /* when the last awaited text came */
    struct histogram opening;
    char failure[160]; /* of the first that failed */
};

/* What all crowds share. */
struct world {
    const struct addrinfo *address;
    int epoll;
    enum coding coding;
    struct reading reading;
    uint64_t bytes_received; /* of steady clients, since the span began */
    uint64_t bytes_decoded;
};

/* Makes clients that are not connected yet; the first `stalled` of them stall. */
void gather(struct crowd *crowd, const struct records *requests, enum kind kind, size_t stalled,
            const struct interest *interest);

/* Lets up to `limit` clients connect while fewer than `ramp` wait for their response head. */
void connect_some(struct crowd *crowd, struct world *world, size_t limit, size_t ramp);

bool is_all_answered(const struct crowd *crowd);

/* Goes on with a client whose descriptor is ready. */
void serve_client(struct client *client, struct world *world, uint32_t readiness);

#endif
