/* Content codings of one body, decoded as the bytes come. */
#ifndef DECODER_H
#define DECODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "response.h"

struct decoder {
    enum coding coding;
    void *stream;
    bool is_at_end; /* a gzip member has ended; nothing may follow */
};

/* NULL, or why this program cannot decode a coding. */
const char *lacking_for(enum coding coding);

void open_decoder(struct decoder *decoder, enum coding coding);

/* Hands on decoded pieces, with CARRY_BYTES before and SLACK_BYTES behind each; false when the
 * bytes are no valid stream. */
bool decode(struct decoder *decoder, uint8_t *data, size_t size, body_taker *taker,
            void *context);

#endif
