/* A log-linear histogram of nanoseconds: 64 buckets per power of two, an error below 1.6 %. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum {
    BUCKET_BITS = 6,
    BUCKETS_PER_POWER = 1 << BUCKET_BITS,
    LARGEST_POWER = 40, /* 2^40 ns are 18 minutes */
    BUCKETS = (LARGEST_POWER - BUCKET_BITS + 1) * BUCKETS_PER_POWER,
};

struct histogram {
    uint64_t counts[BUCKETS];
    uint64_t count;
    uint64_t sum;
    uint64_t max;
};

/* Values below 64 have a bucket each; above, the leading bit and the six behind it name one. */
static inline size_t bucket_of(uint64_t value)
{
    unsigned power;

    if (value < BUCKETS_PER_POWER)
        return (size_t)value;
    if (value >= 1ull << LARGEST_POWER)
        return BUCKETS - 1;
    power = 63u - (unsigned)__builtin_clzll(value);
    return (power - BUCKET_BITS + 1) * BUCKETS_PER_POWER +
           ((value >> (power - BUCKET_BITS)) & (BUCKETS_PER_POWER - 1));
}

static inline void observe(struct histogram *histogram, uint64_t value)
{
    histogram->counts[bucket_of(value)]++;
    histogram->count++;
    histogram->sum += value;
    if (value > histogram->max)
        histogram->max = value;
}

/* The middle of the bucket that holds the value at `share` (0 to 1) of all; 0 when empty. */
uint64_t percentile(const struct histogram *histogram, double share);

#endif
