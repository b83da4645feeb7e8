/* The feed: sends messages as they become due, and reads what they are answered. */
#ifndef FEED_H
#define FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "records.h"
#include "response.h"
#include "schedule.h"

enum { ANSWER_BYTES = 1 << 16 };

/* A message with the places that are filled in when it is sent. */
struct template
{
    struct record text;
    uint8_t *stamp;   /* within the text; NULL: none */
    uint8_t *counter; /* the same */
};

struct feed {
    int descriptor; /* -1: no feed */
    int epoll;
    bool is_http;
    bool waits_for_room; /* in the socket */
    struct template *templates;
    size_t template_count;
    struct schedule *schedule;
    const uint64_t *span; /* begin and end of what is counted, in stamps */
    uint64_t next;        /* the next message */
    uint64_t end;         /* one past the last */
    uint64_t stamp;       /* the latest given out */
    uint64_t wake;        /* when there is something to do, unless the socket says so before */
    uint8_t *rest;        /* of a message that the kernel took in part */
    size_t rest_size;
    uint64_t unanswered; /* requests, over HTTP */
    uint64_t sent_in_span;
    uint64_t largest_lag;
    uint64_t acknowledged;
    uint64_t refused;
    char refusal[160]; /* the first */
    size_t held;       /* bytes of an answer that is not whole yet */
    uint8_t answers[ANSWER_BYTES];
    struct response response;
};

/* Connects; `address` is unix:PATH or http:HOST:PORT, or NULL for no feed. */
void open_feed(struct feed *feed, const char *address, const struct records *messages,
               struct schedule *schedule, int epoll);

/* Sends what is due now, as much of it as the socket takes, and sets `wake`. */
void pump(struct feed *feed, uint64_t now);

/* Goes on with a feed whose descriptor is ready. */
void serve_feed(struct feed *feed, uint32_t readiness);

#endif
