#include "records.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    long end;

    if (!file || fseek(file, 0, SEEK_END) || (end = ftell(file)) < 0)
        err(1, "%s", path);
    *size = (size_t)end;
    data = malloc(*size + 1);
    rewind(file);
    if (!data || fread(data, 1, *size, file) != *size)
        err(1, "%s", path);
    fclose(file);
    return data;
}

struct records read_records(const char *path)
{
    struct records records = {NULL, 0};
    size_t size, room = 0, at = 0;
    uint8_t *data = read_file(path, &size);

    while (at < size) {
        uint32_t length;

        if (size - at < sizeof length)
            errx(1, "%s: cut short", path);
        memcpy(&length, data + at, sizeof length);
        at += sizeof length;
        if (size - at < length)
            errx(1, "%s: cut short", path);
        if (records.count == room) {
            room = room ? 2 * room : 1024;
            records.items = realloc(records.items, room * sizeof *records.items);
            if (!records.items)
                err(1, "%s", path);
        }
        records.items[records.count++] = (struct record){data + at, length};
        at += length;
    }
    return records;
}
