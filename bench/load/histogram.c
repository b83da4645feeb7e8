#include "histogram.h"

static uint64_t middle_of(size_t bucket)
{
    size_t power = bucket / BUCKETS_PER_POWER;
    uint64_t rest = bucket % BUCKETS_PER_POWER;

    if (power == 0)
        return rest;
    return ((2 * (BUCKETS_PER_POWER + rest) + 1) << (power - 1)) / 2;
}

uint64_t percentile(const struct histogram *histogram, double share)
{
    double wanted = share * (double)histogram->count;
    uint64_t seen = 0;

    for (size_t bucket = 0; bucket < BUCKETS; bucket++) {
        seen += histogram->counts[bucket];
        if (seen > 0 && (double)seen >= wanted) {
            uint64_t middle = middle_of(bucket);
            return middle < histogram->max ? middle : histogram->max;
        }
    }
    return 0;
}
