#define _GNU_SOURCE /* memmem */

#include "events.h"

#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "stamp.h"

#define COUNTER_MARK "\"n\":\""
#define ID_MARK "\nid: "

enum { VECTOR = 16, BLOCK = 64, MAX_ID_LINE = 48 };
enum match { NO_MATCH, MATCH, CUT };

/* Pairs of bytes at which a pattern may begin; the first byte of a line's is always LF. */
struct pairs {
    uint8_t mark[2];
    uint8_t counter[2];
    uint8_t after_newline; /* beside LF and CR */
};

static struct pairs pairs_of(const struct interest *interest)
{
    struct pairs pairs;

    memcpy(pairs.mark, interest->mark, 2);
    memcpy(pairs.counter, interest->counter_step ? COUNTER_MARK : interest->mark, 2);
    pairs.after_newline = (uint8_t)(interest->checks_ids ? ID_MARK[1] : '\n');
    return pairs;
}

/* Returns a bit for each of the next 16 bytes that begins a pair. Reads 17 bytes. */
#ifdef __SSE2__
static inline uint32_t find_pairs(const struct pairs *pairs, const uint8_t *at)
{
#define EQUAL(bytes, byte) _mm_cmpeq_epi8(bytes, _mm_set1_epi8((char)(byte)))
    __m128i first = _mm_loadu_si128((const __m128i *)at);
    __m128i second = _mm_loadu_si128((const __m128i *)(at + 1));
    __m128i line = _mm_or_si128(_mm_or_si128(EQUAL(second, '\n'), EQUAL(second, '\r')),
                                EQUAL(second, pairs->after_newline));
    __m128i found = _mm_and_si128(EQUAL(first, '\n'), line);

    found = _mm_or_si128(found, _mm_and_si128(EQUAL(first, pairs->mark[0]),
                                              EQUAL(second, pairs->mark[1])));
    found = _mm_or_si128(found, _mm_and_si128(EQUAL(first, pairs->counter[0]),
                                              EQUAL(second, pairs->counter[1])));
    return (uint32_t)_mm_movemask_epi8(found);
#undef EQUAL
}
#else
static inline uint32_t find_pairs(const struct pairs *pairs, const uint8_t *at)
{
    uint32_t found = 0;

    for (unsigned i = 0; i < VECTOR; i++) {
        uint8_t first = at[i], second = at[i + 1];
        bool is_pair = (first == '\n' && (second == '\n' || second == '\r' ||
                                          second == pairs->after_newline)) ||
                       (first == pairs->mark[0] && second == pairs->mark[1]) ||
                       (first == pairs->counter[0] && second == pairs->counter[1]);
        found |= (uint32_t)is_pair << i;
    }
    return found;
}
#endif

/* The same for the next 64 bytes: a look at each 16 apart would mispredict its branch too often. */
static inline uint64_t find_pairs_in_block(const struct pairs *pairs, const uint8_t *at)
{
    uint64_t found = 0;

    for (unsigned i = 0; i < BLOCK; i += VECTOR)
        found |= (uint64_t)find_pairs(pairs, at + i) << i;
    return found;
}

/* Compares the bytes at `at` with `text` and `more` bytes of any value behind it. */
static inline enum match compare(const uint8_t *at, const uint8_t *end, const char *text,
                                 size_t size, size_t more)
{
    size_t there = (size_t)(end - at);

    if (memcmp(at, text, there < size ? there : size))
        return NO_MATCH;
    return there < size + more ? CUT : MATCH;
}

static void check_counter(struct scanner *scanner, const struct reading *reading)
{
    uint64_t step = reading->interest->counter_step;
    uint64_t latest = scanner->latest_counter;

    if (latest != NO_COUNTER && scanner->counter != latest + step) {
        if (scanner->counter <= latest)
            reading->tally->duplicates++;
        else
            reading->tally->holes += (scanner->counter - latest) / step - 1;
    }
    if (latest == NO_COUNTER || scanner->counter > latest)
        scanner->latest_counter = scanner->counter;
}

static void end_event(struct scanner *scanner, const struct reading *reading)
{
    struct tally *tally = reading->tally;

    if (!scanner->stamp) {
        if (scanner->first != ':')
            tally->other_events++;
    } else if (scanner->is_counted && scanner->stamp >= tally->span_begin &&
               scanner->stamp < tally->span_end) {
        tally->delivered++;
        observe(&tally->since_due, reading->now - due_of(reading->schedule, scanner->stamp));
        observe(&tally->since_sent, reading->now - scanner->stamp);
        if (scanner->counter != NO_COUNTER)
            check_counter(scanner, reading);
    }
    scanner->stamp = 0;
    scanner->counter = NO_COUNTER;
}

/* IDs rise: the number before the first `-`, then what follows it as text. */
static void check_id(struct scanner *scanner, const struct reading *reading, const uint8_t *line,
                     size_t size)
{
    char text[MAX_ID_LINE + 1];
    struct event_id *latest = &scanner->latest_id;
    struct event_id id;
    char *suffix;

    memcpy(text, line, size);
    text[size] = '\0';
    id.number = strtoull(text, &suffix, 10);
    strncpy(id.suffix, suffix, sizeof id.suffix - 1);
    id.suffix[sizeof id.suffix - 1] = '\0';
    if (id.number < latest->number ||
        (id.number == latest->number && strcmp(id.suffix, latest->suffix) <= 0))
        reading->tally->order_errors++;
    *latest = id;
}

static enum match take_id(struct scanner *scanner, const struct reading *reading,
                          const uint8_t *hit, const uint8_t *end)
{
    enum match match = compare(hit, end, ID_MARK, strlen(ID_MARK), 0);
    const uint8_t *line = hit + strlen(ID_MARK);
    const uint8_t *line_end;
    size_t size;

    if (match != MATCH)
        return match;
    size = (size_t)(end - line);
    line_end = memchr(line, '\n', size < MAX_ID_LINE ? size : MAX_ID_LINE);
    if (!line_end && size < MAX_ID_LINE)
        return CUT;
    check_id(scanner, reading, line, line_end ? (size_t)(line_end - line) : MAX_ID_LINE);
    return MATCH;
}

static enum match take_blank_line(struct scanner *scanner, const struct reading *reading,
                                  const uint8_t *hit, const uint8_t *end)
{
    const uint8_t *next = hit + 2;

    if (hit[1] == '\r') {
        if (next == end)
            return CUT;
        if (*next++ != '\n')
            return NO_MATCH;
    }
    if (scanner->first != '\n' && scanner->first != '\r') /* one more blank line is no event */
        end_event(scanner, reading);
    scanner->first = next < end ? *next : 0;
    return MATCH;
}

static inline enum match take(struct scanner *scanner, const struct reading *reading,
                              const uint8_t *hit, const uint8_t *end)
{
    const struct interest *interest = reading->interest;
    enum match match;

    if (*hit == '\n')
        return hit[1] == '\n' || hit[1] == '\r' ? take_blank_line(scanner, reading, hit, end)
                                                : take_id(scanner, reading, hit, end);
    match = compare(hit, end, interest->mark, interest->mark_size, STAMP_DIGITS);
    if (match == MATCH)
        scanner->stamp = read_digits(hit + interest->mark_size, STAMP_DIGITS);
    if (match != NO_MATCH || !interest->counter_step)
        return match;
    match = compare(hit, end, COUNTER_MARK, strlen(COUNTER_MARK), COUNTER_DIGITS);
    if (match == MATCH)
        scanner->counter = read_digits(hit + strlen(COUNTER_MARK), COUNTER_DIGITS);
    return match;
}

/* Takes every pattern that is there whole; returns from where to scan on with more bytes. */
static const uint8_t *scan_whole(struct scanner *scanner, const struct reading *reading,
                                 const uint8_t *at, const uint8_t *end)
{
    const struct pairs pairs = pairs_of(reading->interest);
    const uint8_t *last = end - 1; /* the first half of a pair at most */

    for (; at < last; at += BLOCK) {
        uint64_t hits = find_pairs_in_block(&pairs, at);

        if (last - at < BLOCK)
            hits &= (1ull << (last - at)) - 1;
        for (; hits; hits &= hits - 1) {
            const uint8_t *hit = at + __builtin_ctzll(hits);

            if (take(scanner, reading, hit, end) == CUT)
                return hit;
        }
    }
    return last;
}

static void keep(struct scanner *scanner, const uint8_t *from, const uint8_t *resume,
                 const uint8_t *end, size_t wanted)
{
    size_t size = (size_t)(end - resume);

    scanner->unscanned = (uint8_t)size;
    if (wanted > size)
        size = wanted < (size_t)(end - from) ? wanted : (size_t)(end - from);
    scanner->carried = (uint8_t)size;
    memcpy(scanner->carry, end - size, size);
}

void init_scanner(struct scanner *scanner, bool is_counted, bool is_awaiting)
{
    memset(scanner, 0, sizeof *scanner);
    scanner->counter = NO_COUNTER;
    scanner->latest_counter = NO_COUNTER;
    scanner->is_counted = is_counted;
    scanner->is_awaiting = is_awaiting;
}

void scan(struct scanner *scanner, const struct reading *reading, uint8_t *data, size_t size)
{
    const struct interest *interest = reading->interest;
    const uint8_t *end = data + size;
    const uint8_t *from = data - scanner->carried;
    const uint8_t *resume;
    size_t wanted = 0;

    if (!size)
        return;
    memcpy(data - scanner->carried, scanner->carry, scanner->carried);
    if (!scanner->first)
        scanner->first = *data;
    if (scanner->is_awaiting) {
        scanner->is_awaiting = !memmem(from, (size_t)(end - from), interest->awaited,
                                       interest->awaited_size);
        wanted = interest->awaited_size - 1;
    }
    resume = scan_whole(scanner, reading, data - scanner->unscanned, end);
    keep(scanner, from, resume, end, wanted);
}
