/* Files of byte strings, each after its length: 4 bytes, little-endian. */
#ifndef RECORDS_H
#define RECORDS_H

#include <stddef.h>
#include <stdint.h>

struct record {
    uint8_t *data;
    size_t size;
};

struct records {
    struct record *items;
    size_t count;
};

/* Ends the program when the file cannot be read or is cut short. */
struct records read_records(const char *path);

#endif
