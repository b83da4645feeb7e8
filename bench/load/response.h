/* An HTTP/1.1 response, byte by byte: its head, then its body without the framing. */
#ifndef RESPONSE_H
#define RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum coding { IDENTITY, GZIP, ZSTD, OTHER_CODING };
enum response_state { IN_HEAD, IN_BODY, ENDED, BROKEN };
enum framing { UNTIL_CLOSE, BY_LENGTH, CHUNKED };
enum chunk_state { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_END, TRAILER };
enum { MAX_HEAD = 4096 };

struct response {
    enum response_state state;
    enum framing framing;
    enum chunk_state chunk;
    uint64_t left; /* bytes of this chunk, or of the whole body */
    int status;
    enum coding coding;
    size_t head_size;
    char head[MAX_HEAD + 1];
};

/* Takes a piece of the body. It may overwrite what lies before the piece. */
typedef void body_taker(void *context, uint8_t *data, size_t size);

void init_response(struct response *response);

/* Takes bytes of the head only, until `state` says that it is whole; returns how many. */
size_t take_head(struct response *response, const uint8_t *data, size_t size);

/* Takes bytes up to the end of the response; returns how many that were. */
size_t take_response(struct response *response, uint8_t *data, size_t size, body_taker *taker,
                     void *context);

#endif
