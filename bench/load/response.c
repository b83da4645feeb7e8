#define _GNU_SOURCE /* memmem, strcasestr */

#include "response.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD_END "\r\n\r\n"

/* The value of a header, up to the end of its line; NULL without one. */
static const char *header(const char *head, const char *name)
{
    const char *line = strcasestr(head, name);

    return line ? line + strlen(name) + strspn(line + strlen(name), " \t") : NULL;
}

static enum coding coding_named(const char *value)
{
    if (!value || !strncasecmp(value, "identity", strlen("identity")))
        return IDENTITY;
    if (!strncasecmp(value, "gzip", strlen("gzip")))
        return GZIP;
    return strncasecmp(value, "zstd", strlen("zstd")) ? OTHER_CODING : ZSTD;
}

static void read_head(struct response *response)
{
    const char *head = response->head;
    const char *codings = header(head, "\nTransfer-Encoding:");
    const char *length = header(head, "\nContent-Length:");

    if (strncmp(head, "HTTP/1.", strlen("HTTP/1.")) || head[8] != ' ') {
        response->state = BROKEN;
        return;
    }
    response->status = atoi(head + 9);
    response->coding = coding_named(header(head, "\nContent-Encoding:"));
    response->state = IN_BODY;
    if (response->status == 204 || response->status == 304) {
        response->state = ENDED;
    } else if (codings && !strncasecmp(codings, "chunked", strlen("chunked"))) {
        response->framing = CHUNKED;
    } else if (length) {
        response->framing = BY_LENGTH;
        response->left = strtoull(length, NULL, 10);
        if (!response->left)
            response->state = ENDED;
    }
}

size_t take_head(struct response *response, const uint8_t *data, size_t size)
{
    size_t before = response->head_size;
    size_t room = MAX_HEAD - before;
    size_t copied = size < room ? size : room;
    char *end;

    memcpy(response->head + before, data, copied);
    response->head_size += copied;
    response->head[response->head_size] = '\0';
    end = memmem(response->head, response->head_size, HEAD_END, strlen(HEAD_END));
    if (end) {
        end += strlen(HEAD_END);
        response->head_size = (size_t)(end - response->head);
        *end = '\0';
        read_head(response);
        return response->head_size - before;
    }
    if (copied < size)
        response->state = BROKEN;
    return copied;
}

static int hex_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Takes one byte of what stands between the data of chunks. */
static void take_framing(struct response *response, uint8_t byte)
{
    int value;

    switch (response->chunk) {
    case CHUNK_SIZE:
        value = hex_value(byte);
        if (value >= 0) {
            response->left = response->left * 16 + (uint64_t)value;
            break;
        }
        response->chunk = CHUNK_EXTENSION;
        /* fall through */
    case CHUNK_EXTENSION:
        if (byte == '\n') {
            response->chunk = response->left ? CHUNK_DATA : TRAILER;
            response->left += !response->left; /* an empty line ends the trailer */
        }
        break;
    case CHUNK_END:
        if (byte == '\n')
            response->chunk = CHUNK_SIZE;
        break;
    case TRAILER: /* `left` is 1 at the beginning of a line */
        if (byte == '\n' && response->left)
            response->state = ENDED;
        if (byte != '\r')
            response->left = byte == '\n';
        break;
    case CHUNK_DATA:
        break;
    }
}

static size_t take_data(struct response *response, uint8_t *data, size_t size, body_taker *taker,
                        void *context)
{
    size_t taken = size;

    if (response->framing != UNTIL_CLOSE) {
        taken = size < response->left ? size : (size_t)response->left;
        response->left -= taken;
    }
    if (!response->left && response->framing == BY_LENGTH)
        response->state = ENDED;
    if (!response->left && response->framing == CHUNKED)
        response->chunk = CHUNK_END;
    taker(context, data, taken);
    return taken;
}

void init_response(struct response *response)
{
    memset(response, 0, offsetof(struct response, head));
}

size_t take_response(struct response *response, uint8_t *data, size_t size, body_taker *taker,
                     void *context)
{
    size_t at = 0;

    while (at < size && response->state < ENDED) {
        if (response->state == IN_HEAD)
            at += take_head(response, data + at, size - at);
        else if (response->framing == CHUNKED && response->chunk != CHUNK_DATA)
            take_framing(response, data[at++]);
        else
            at += take_data(response, data + at, size - at, taker, context);
    }
    return at;
}
