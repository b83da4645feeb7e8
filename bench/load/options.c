#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "events.h"

static const char USAGE[] =
    "usage: load --host HOST --port PORT --requests FILE [options]\n"
    "  --requests FILE       raw HTTP requests, one a client: 4 bytes of length, then the bytes\n"
    "  --coding NAME         identity, gzip or zstd: what bodies must come in\n"
    "  --feed unix:PATH      where messages go: lines into a Unix socket,\n"
    "         http:HOST:PORT or requests on a kept connection, up to 32 unanswered\n"
    "  --events FILE         messages, sent in turn; 20 @ are replaced by the time (monotonic,\n"
    "                        ns), @@########## by the number of the message\n"
    "  --rate R              messages a second\n"
    "  --warmup S --seconds S --drain S\n"
    "                        before, during and after what is measured\n"
    "  --clients-ramp N      connections that may wait for their response head\n"
    "  --fan-out N           clients that get each event, if not all: the drain ends with the last\n"
    "  --stall K             the first K clients read their response head only\n"
    "  --storm FILE          requests to send all at once in the middle of what is measured\n"
    "  --until TEXT          what each of these waits for\n"
    "  --mark TEXT           what stands before the time in an event (\"t\":\")\n"
    "  --check-ids           IDs must rise along each connection\n"
    "  --check-counter STEP  numbers must rise by STEP along each connection\n"
    "Prints `connected`, `begin`, `end` as it gets there, then one JSON object.\n";

static const struct option OPTIONS[] = {
    {"host", required_argument, NULL, 'h'},
    {"port", required_argument, NULL, 'p'},
    {"requests", required_argument, NULL, 'q'},
    {"coding", required_argument, NULL, 'c'},
    {"feed", required_argument, NULL, 'f'},
    {"events", required_argument, NULL, 'e'},
    {"rate", required_argument, NULL, 'r'},
    {"warmup", required_argument, NULL, 'w'},
    {"seconds", required_argument, NULL, 's'},
    {"drain", required_argument, NULL, 'd'},
    {"clients-ramp", required_argument, NULL, 'a'},
    {"fan-out", required_argument, NULL, 'o'},
    {"stall", required_argument, NULL, 'k'},
    {"storm", required_argument, NULL, 'S'},
    {"until", required_argument, NULL, 'u'},
    {"mark", required_argument, NULL, 'm'},
    {"check-ids", no_argument, NULL, 'i'},
    {"check-counter", required_argument, NULL, 'n'},
    {NULL, 0, NULL, 0},
};

static void fail(const char *problem)
{
    fprintf(stderr, "load: %s\n%s", problem, USAGE);
    exit(2);
}

static double number(const char *text)
{
    char *end;
    double value;

    errno = 0;
    value = strtod(text, &end);
    if (errno || end == text || *end || !(value >= 0))
        fail("a number that is not negative is expected");
    return value;
}

static enum coding coding_of(const char *name)
{
    if (!strcmp(name, "gzip"))
        return GZIP;
    if (!strcmp(name, "zstd"))
        return ZSTD;
    if (strcmp(name, "identity"))
        fail("--coding is identity, gzip or zstd");
    return IDENTITY;
}

static void set_option(struct options *options, int name, char *value)
{
    switch (name) {
    case 'h': options->host = value; break;
    case 'p': options->port = value; break;
    case 'q': options->requests = value; break;
    case 'c': options->coding = coding_of(value); break;
    case 'f': options->feed = value; break;
    case 'e': options->events = value; break;
    case 'r': options->rate = number(value); break;
    case 'w': options->warmup = number(value); break;
    case 's': options->seconds = number(value); break;
    case 'd': options->drain = number(value); break;
    case 'a': options->ramp = (size_t)number(value); break;
    case 'o': options->fan_out = (size_t)number(value); break;
    case 'k': options->stall = (size_t)number(value); break;
    case 'S': options->storm = value; break;
    case 'u': options->until = value; break;
    case 'm': options->mark = value; break;
    case 'i': options->checks_ids = true; break;
    case 'n': options->counter_step = (uint64_t)number(value); break;
    default: fail("unknown option");
    }
}

static void check_together(const struct options *options)
{
    if (!options->host || !options->port || !options->requests)
        fail("--host, --port and --requests are needed");
    if (options->rate > 0 && (!options->feed || !options->events))
        fail("--rate needs --feed and --events");
    if (strlen(options->mark) < 2 || strlen(options->mark) > MAX_PATTERN)
        fail("--mark has 2 to 40 characters");
    if (options->until && (!*options->until || strlen(options->until) > MAX_PATTERN))
        fail("--until has 1 to 40 characters");
    if (options->storm && !options->until)
        fail("--storm needs --until");
    if (!options->ramp)
        fail("--clients-ramp is at least 1");
}

struct options parse_options(int count, char **words)
{
    struct options options = {
        .mark = "\"t\":\"",
        .coding = IDENTITY,
        .warmup = 1,
        .seconds = 5,
        .drain = 2,
        .ramp = 256,
    };
    int name;

    while ((name = getopt_long(count, words, "", OPTIONS, NULL)) != -1)
        set_option(&options, name, optarg);
    if (optind < count)
        fail("no argument beside options is expected");
    check_together(&options);
    return options;
}
