"""Soak: facts to many users while everything fails that can, and every one counted.

Clients come, go, stall and reset; feeds are cut off amid a line; the server itself is restarted.
Every client checks that it has each fact of its user exactly once, by resuming; at the end a
JSON report says what happened, and the exit code is 1 for any loss, duplicate or growth.

    python -m tests.soak [--minutes 30] [--facts 1000000] [--faults 2000] [--clients 500]
    make soak MINUTES=30
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.soak.client import Client, Tally
from tests.soak.feed import Feed
from tests.support import daemon
from tests.support.daemon import Daemon

FEEDS: Final = 4
MOST_AWAY_SECONDS: Final = 3.0
MOST_GROWTH: Final = 1.1
"""Resident memory at the end, against that after a tenth of the run.

By then, with the limits below, buffers and keys are full: a million facts are 5000 a user.
"""

_CATCH_UP_SECONDS: Final = 60.0
_PAGE_KIB: Final = 4
_RESTART_SHARE: Final = 0.1
"""The server is restarted after each tenth of the run, but for the first and the last two."""


class Soak:
    """One run.

    Args:
        folder: Where the server keeps its files.
        options: What was asked for on the command line.
    """

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder = folder
        self._options = options
        self._random = random.Random(options.seed)
        self._tally = Tally()
        self._faults: Counter[str] = Counter()
        self._under_way: set[asyncio.Task[None]] = set()
        self._port = 0
        self._server: Daemon | None = None
        self._users = [f"user-{number}" for number in range(options.users)]
        self._clients: list[Client] = []
        self._feeds: list[Feed] = []
        self._early_rss_kib = 0

    async def run(self) -> dict[str, Any]:
        """Run, and return the report."""
        options = self._options
        server = await self._start()
        descriptors = _descriptors(server)
        await self._let_in(server)
        self._clients = [
            Client(
                lambda: self._port,
                f"session-{number % options.users}",
                ("identity", "gzip")[number % 2],
                self._tally,
            )
            for number in range(options.clients)
        ]
        seconds = options.minutes * 60
        share = options.facts // FEEDS
        self._feeds = [
            Feed(self._ingest_path, self._users[n::FEEDS], share, share / seconds)
            for n in range(FEEDS)
        ]
        following = [asyncio.create_task(client.run()) for client in self._clients]
        publishing = [asyncio.create_task(feed.run()) for feed in self._feeds]
        failing = asyncio.create_task(self._fail(seconds))
        await asyncio.gather(*publishing, failing, *self._under_way)
        await asyncio.gather(*self._under_way)
        behind = await self._catch_up()
        server = self._running()
        rss_kib = _rss_kib(server)
        for client in self._clients:
            client.end()
        await asyncio.gather(*following)
        left = await self._descriptors_at_rest(server, descriptors)
        code = await server.stop()
        return {
            "minutes": options.minutes,
            "facts": share * FEEDS,
            "users": options.users,
            "clients": options.clients,
            "received": self._tally.received,
            "faults": dict(self._faults),
            "faults_in_all": self._faults.total(),
            "lost": self._tally.lost + behind,
            "duplicated": self._tally.duplicated,
            "gaps": self._tally.gaps[:10],
            "max_latency_ms": round(self._tally.max_latency_ns / 1e6, 1),
            "rss_kib_after_a_tenth": self._early_rss_kib,
            "rss_kib_at_the_end": rss_kib,
            "descriptors_at_the_start": descriptors,
            "descriptors_at_the_end": left,
            "exit_code": code,
        }

    async def _start(self) -> Daemon:
        settings = {
            "server.port": self._port,
            "state.path": str(self._folder / "state"),
            "state.save_seconds": 1,
            "buffer.events_per_user": 300,
            "limits.max_keys": 50_000,
            "limits.connections_per_user": 500,
            "log.level": "warning",
        }
        self._server = await daemon.start(self._folder, settings)
        self._port = self._server.port
        return self._server

    def _running(self) -> Daemon:
        assert self._server is not None, "a server runs from the start on"
        return self._server

    def _ingest_path(self) -> str:
        return self._running().ingest_path

    async def _let_in(self, server: Daemon) -> None:
        async with server.feed() as feed:
            for number, user in enumerate(self._users):
                await feed.session(f"session-{number}", user)

    async def _fail(self, seconds: float) -> None:
        """Inject faults, evenly over the run, and restart the server now and then."""
        began = time.monotonic()
        faults = self._options.faults
        restarts = [seconds * _RESTART_SHARE * tenth for tenth in range(2, 9)]
        early = seconds * _RESTART_SHARE
        for number in range(faults):
            await asyncio.sleep(max(0.0, began + seconds * number / faults - time.monotonic()))
            passed = time.monotonic() - began
            if not self._early_rss_kib and passed >= early:
                self._early_rss_kib = _rss_kib(self._running())
            if restarts and passed >= restarts[0]:
                restarts.pop(0)
                await self._restart()
            self._inject()

    async def _restart(self) -> None:
        self._faults["server_restart"] += 1
        code = await self._running().stop()
        assert code == 0, f"a drain ended with {code}"
        await self._start()

    def _inject(self) -> None:
        kind = self._random.choices(("reset", "stall", "leave", "feed_cut"), (4, 3, 3, 1))[0]
        self._faults[kind] += 1
        client = self._random.choice(self._clients)
        away = self._random.uniform(0, MOST_AWAY_SECONDS)
        match kind:
            case "reset":
                client.reset()
            case "stall":
                self._start_task(client.stall(away))
            case "leave":
                self._start_task(client.leave(away))
            case _:
                self._random.choice(self._feeds).cut()

    def _start_task(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _catch_up(self) -> int:
        """Return how many facts are still missing when all have had time to resume."""
        published: dict[str, int] = {}
        for feed in self._feeds:
            published |= feed.published
        wanted = [published[self._users[n % len(self._users)]] for n in range(len(self._clients))]
        ends_at = time.monotonic() + _CATCH_UP_SECONDS
        while True:
            behind = sum(n - c.newest for n, c in zip(wanted, self._clients, strict=True))
            if not behind or time.monotonic() > ends_at:
                return behind
            await asyncio.sleep(0.1)

    async def _descriptors_at_rest(self, server: Daemon, wanted: int) -> int:
        """Return how many are open when those of clients that have left are closed."""
        ends_at = time.monotonic() + _CATCH_UP_SECONDS
        while (found := _descriptors(server)) != wanted and time.monotonic() < ends_at:
            await asyncio.sleep(0.1)
        return found


def faults_of(report: dict[str, Any]) -> list[str]:
    """Return what of a report must not be."""
    return [
        name
        for name, is_wrong in {
            "lost": report["lost"],
            "duplicated": report["duplicated"],
            "gaps": report["gaps"],
            "exit_code": report["exit_code"],
            "descriptors": report["descriptors_at_the_end"] != report["descriptors_at_the_start"],
            "memory": report["rss_kib_at_the_end"] > MOST_GROWTH * report["rss_kib_after_a_tenth"],
        }.items()
        if is_wrong
    ]


def _descriptors(server: Daemon) -> int:
    return sum(1 for _ in Path(f"/proc/{server.process.pid}/fd").iterdir())


def _rss_kib(server: Daemon) -> int:
    pages = Path(f"/proc/{server.process.pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * _PAGE_KIB


async def soak(options: argparse.Namespace) -> dict[str, Any]:
    """Run a soak in a folder of its own and return its report."""
    with tempfile.TemporaryDirectory() as folder:
        return await Soak(Path(folder), options).run()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--facts", type=int, default=1_000_000)
    parser.add_argument("--faults", type=int, default=2_500)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


def main() -> int:
    """Run a soak, print its report, and return 1 when something was wrong."""
    report = asyncio.run(soak(parse(sys.argv[1:])))
    wrong = faults_of(report)
    sys.stdout.write(json.dumps({**report, "wrong": wrong}, indent=2) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
