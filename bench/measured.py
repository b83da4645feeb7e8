"""What processes under measurement use, as the kernel accounts for it (proc(5))."""

import os
from pathlib import Path
from typing import Final, NamedTuple

_PAGE_KIB: Final = os.sysconf("SC_PAGE_SIZE") / 1024
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


class Processes(NamedTuple):
    """All processes of one server."""

    pids: tuple[int, ...]

    def cpu_seconds(self) -> float:
        """Return their processor time so far, in steps of 10 ms."""
        return sum(map(_cpu_ticks, self.pids)) / _TICKS_PER_SECOND

    def resident_kib(self) -> float:
        """Return their resident memory; what they share counts for each."""
        return sum(map(_resident_pages, self.pids)) * _PAGE_KIB

    def descriptors(self) -> int:
        """Return how many descriptors they have open."""
        return sum(1 for pid in self.pids for _ in Path(f"/proc/{pid}/fd").iterdir())


def _cpu_ticks(pid: int) -> int:
    # The name, in parentheses, may hold anything: fields are counted from behind it.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    user, system = fields[11:13]
    return int(user) + int(system)


def _resident_pages(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
