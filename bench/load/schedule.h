/* When each message is due, and when it was sent.
 *
 * Message i is due at start + i x period, whatever happens. Messages leave in slices; in a slice
 * the k-th message is stamped k ns after the first, so that a stamp, which is all that an event
 * brings back, names its message, and with it the time at which it was due.
 */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

struct slice {
    uint64_t stamp; /* of its first message */
    uint64_t first; /* index of that message */
};

struct schedule {
    uint64_t start;
    double period_ns;
    struct slice *slices;
    size_t count;
    size_t room;
    size_t cursor; /* where the last look-up ended: the next is near */
};

static inline uint64_t due_at(const struct schedule *schedule, uint64_t message)
{
    return schedule->start + (uint64_t)((double)message * schedule->period_ns);
}

/* Notes a slice that was sent; stamps only rise. */
void add_slice(struct schedule *schedule, uint64_t stamp, uint64_t first);

/* When the message with this stamp was due; somebody else's was due when it was stamped. */
static inline uint64_t due_of(struct schedule *schedule, uint64_t stamp)
{
    const struct slice *slices = schedule->slices;
    size_t at = schedule->cursor;

    if (!schedule->count || stamp < slices[0].stamp)
        return stamp;
    while (at > 0 && slices[at].stamp > stamp)
        at--;
    while (at + 1 < schedule->count && slices[at + 1].stamp <= stamp)
        at++;
    schedule->cursor = at;
    return due_at(schedule, slices[at].first + (stamp - slices[at].stamp));
}

#endif
