#include "decoder.h"

#include <err.h>
#include <stdlib.h>
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif
#ifdef HAVE_ZSTD
#include <zstd.h>
#endif

#include "events.h"

#if defined HAVE_ZLIB || defined HAVE_ZSTD
enum { DECODED_BYTES = 1 << 16 };

static uint8_t decoded[CARRY_BYTES + DECODED_BYTES + SLACK_BYTES];
static uint8_t *const output = decoded + CARRY_BYTES;
#endif

#ifdef HAVE_ZLIB
enum { GZIP_ONLY = 16 }; /* beside the window bits: zlib.h */

static void *open_gzip(void)
{
    z_stream *stream = calloc(1, sizeof *stream);

    if (!stream || inflateInit2(stream, MAX_WBITS + GZIP_ONLY) != Z_OK)
        errx(1, "no memory for a gzip stream");
    return stream;
}

static bool decode_gzip(struct decoder *decoder, uint8_t *data, size_t size, body_taker *taker,
                        void *context)
{
    z_stream *stream = decoder->stream;
    int result;

    if (decoder->is_at_end)
        return size == 0;
    stream->next_in = data;
    stream->avail_in = (uInt)size;
    do {
        stream->next_out = output;
        stream->avail_out = DECODED_BYTES;
        result = inflate(stream, Z_SYNC_FLUSH);
        if (result != Z_OK && result != Z_BUF_ERROR && result != Z_STREAM_END)
            return false;
        taker(context, output, DECODED_BYTES - stream->avail_out);
        if (result == Z_STREAM_END) {
            decoder->is_at_end = true;
            return stream->avail_in == 0;
        }
    } while (stream->avail_in || !stream->avail_out);
    return true;
}
#endif

#ifdef HAVE_ZSTD
static void *open_zstd(void)
{
    ZSTD_DStream *stream = ZSTD_createDStream();

    if (!stream || ZSTD_isError(ZSTD_initDStream(stream)))
        errx(1, "no memory for a zstd stream");
    return stream;
}

static bool decode_zstd(struct decoder *decoder, const uint8_t *data, size_t size,
                        body_taker *taker, void *context)
{
    ZSTD_inBuffer in = {data, size, 0};
    ZSTD_outBuffer out;

    do {
        out = (ZSTD_outBuffer){output, DECODED_BYTES, 0};
        if (ZSTD_isError(ZSTD_decompressStream(decoder->stream, &out, &in)))
            return false;
        taker(context, output, out.pos);
    } while (in.pos < in.size || out.pos == out.size);
    return true;
}
#endif

const char *lacking_for(enum coding coding)
{
#ifndef HAVE_ZLIB
    if (coding == GZIP)
        return "built without zlib: its header zlib.h was missing (Debian: zlib1g-dev)";
#endif
#ifndef HAVE_ZSTD
    if (coding == ZSTD)
        return "built without libzstd: its header zstd.h was missing (Debian: libzstd-dev)";
#endif
    return coding == OTHER_CODING ? "an unknown content coding" : NULL;
}

void open_decoder(struct decoder *decoder, enum coding coding)
{
    *decoder = (struct decoder){coding, NULL, false};
#ifdef HAVE_ZLIB
    if (coding == GZIP)
        decoder->stream = open_gzip();
#endif
#ifdef HAVE_ZSTD
    if (coding == ZSTD)
        decoder->stream = open_zstd();
#endif
}

bool decode(struct decoder *decoder, uint8_t *data, size_t size, body_taker *taker,
            void *context)
{
#ifdef HAVE_ZLIB
    if (decoder->coding == GZIP)
        return decode_gzip(decoder, data, size, taker, context);
#endif
#ifdef HAVE_ZSTD
    if (decoder->coding == ZSTD)
        return decode_zstd(decoder, data, size, taker, context);
#endif
    (void)decoder; /* in a build without both */
    taker(context, data, size);
    return true;
}
