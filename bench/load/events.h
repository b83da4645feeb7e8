/* Events in decoded bytes: found, counted and timed, however the bytes were cut.
 *
 * Nothing is copied but the few bytes at an end that may be half a pattern. Lines may end with
 * LF or CRLF. What is looked for: the blank line that ends an event, the stamp (`"t":"` and 20
 * digits), and where asked for the counter (`"n":"` and 12 digits) and the `id:` line.
 */
#ifndef EVENTS_H
#define EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"
#include "schedule.h"

enum {
    CARRY_BYTES = 64, /* writable bytes that must lie before the bytes to be scanned */
    SLACK_BYTES = 80, /* readable bytes that must lie behind them */
    MAX_PATTERN = 40, /* of a mark or an awaited text */
};

/* What is looked for; the same for all clients. */
struct interest {
    const char *mark; /* what stands before the stamp */
    size_t mark_size;
    const char *awaited; /* text in a stream after which it counts as open; may be NULL */
    size_t awaited_size;
    uint64_t counter_step; /* by which a client's counters rise; 0: not checked */
    bool checks_ids;
};

/* What was found, over all clients. */
struct tally {
    uint64_t span_begin; /* events stamped from here */
    uint64_t span_end;   /* to here (exclusive) are counted */
    uint64_t delivered;
    uint64_t other_events; /* without a stamp, over the whole run; comments are none */
    uint64_t holes;
    uint64_t duplicates;
    uint64_t order_errors;
    struct histogram since_due;
    struct histogram since_sent;
};

struct event_id {
    uint64_t number;
    char suffix[24];
};

/* How far one client's stream has been read. */
struct scanner {
    uint64_t stamp;          /* of the event under way; 0: none seen yet */
    uint64_t counter;        /* of the event under way, or NO_COUNTER */
    uint64_t latest_counter; /* of the last event, or NO_COUNTER */
    uint8_t first;           /* first byte of the event under way; 0: none seen yet */
    uint8_t carried;         /* bytes kept from before */
    uint8_t unscanned;       /* of them, at their end, not scanned yet */
    bool is_counted;
    bool is_awaiting;
    uint8_t carry[CARRY_BYTES];
    struct event_id latest_id;
};

#define NO_COUNTER UINT64_MAX

struct reading {
    const struct interest *interest;
    struct schedule *schedule;
    struct tally *tally;
    uint64_t now; /* when the bytes were there */
};

void init_scanner(struct scanner *scanner, bool is_counted, bool is_awaiting);
void scan(struct scanner *scanner, const struct reading *reading, uint8_t *data, size_t size);

#endif
