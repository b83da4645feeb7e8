/* Time, and numbers of fixed width as they stand in messages. */
#ifndef STAMP_H
#define STAMP_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

enum { STAMP_DIGITS = 20, COUNTER_DIGITS = 12 };

#define NS_PER_SECOND 1000000000ull
#define NS_PER_MS 1000000ull

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "eight_digits() reads little-endian");

static inline uint64_t clock_ns(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * NS_PER_SECOND + (uint64_t)time.tv_nsec;
}

static inline uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

static inline void write_digits(uint8_t *text, size_t count, uint64_t value)
{
    while (count--) {
        text[count] = (uint8_t)('0' + value % 10);
        value /= 10;
    }
}

/* All eight at once: pairs, then fours, then the whole are summed inside one register. */
static inline uint64_t eight_digits(const uint8_t *text)
{
    uint64_t value;

    memcpy(&value, text, sizeof value);
    value = ((value & 0x0f0f0f0f0f0f0f0full) * 2561) >> 8;
    value = ((value & 0x00ff00ff00ff00ffull) * 6553601) >> 16;
    return ((value & 0x0000ffff0000ffffull) * 42949672960001ull) >> 32;
}

static inline uint64_t read_digits(const uint8_t *text, size_t count)
{
    uint64_t value = 0;

    for (; count % 8; count--)
        value = value * 10 + (*text++ & 0x0f);
    for (; count; count -= 8, text += 8)
        value = value * 100000000 + eight_digits(text);
    return value;
}

#endif
