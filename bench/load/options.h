/* The command line. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "response.h"

struct options {
    const char *host;
    const char *port;
    const char *requests; /* file of the requests, one a client */
    const char *feed;     /* unix:PATH or http:HOST:PORT; NULL: none */
    const char *events;   /* file of the messages */
    const char *storm;    /* file of the requests of a storm; NULL: none */
    const char *until;    /* text after which a stream of the storm counts as open */
    const char *mark;
    enum coding coding;
    double rate;
    double warmup;
    double seconds;
    double drain;
    size_t ramp;
    size_t stall;
    size_t fan_out; /* clients that get each event; 0: all that read */
    uint64_t counter_step;
    bool checks_ids;
};

/* Ends the program with 2 and the usage when the command line is wrong. */
struct options parse_options(int count, char **words);

#endif
