"""The machine a bench runs on: its name, and which core does what."""

import os
import platform
import resource
from pathlib import Path
from typing import Final

SERVER_CORE: Final = 0
LOAD_CORE: Final = 1
"""The server has a core of its own; the load client and the bench share another."""


def pin(core: int) -> None:
    """Keep this process on one core, where there are several."""
    os.sched_setaffinity(0, {_core(core)})


def pinned(core: int) -> list[str]:
    """Return the words that start a command on one core, to be ended with this process."""
    return ["setpriv", "--pdeathsig", "TERM", "taskset", "--cpu-list", str(_core(core))]


def allow_descriptors() -> int:
    """Raise the soft limit of descriptors, which children inherit, to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def describe() -> str:
    """Name the machine in one line, for whoever compares figures."""
    cores = os.cpu_count() or 1
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {cores} {'core' if cores == 1 else 'cores'}, {memory_gib:.0f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def _core(number: int) -> int:
    """Return the core for a task; all cores count, whatever this process is pinned to."""
    allowed = sorted(_ALLOWED)
    return allowed[number % len(allowed)]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


_ALLOWED: Final = os.sched_getaffinity(0)
"""Taken at the start: once pinned, this process sees its own core only."""
