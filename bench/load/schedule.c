#include "schedule.h"

#include <err.h>
#include <stdlib.h>

void add_slice(struct schedule *schedule, uint64_t stamp, uint64_t first)
{
    if (schedule->count == schedule->room) {
        schedule->room = schedule->room ? 2 * schedule->room : 65536;
        schedule->slices =
            realloc(schedule->slices, schedule->room * sizeof *schedule->slices);
        if (!schedule->slices)
            err(1, "slices");
    }
    schedule->slices[schedule->count++] = (struct slice){stamp, first};
}
