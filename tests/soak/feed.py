"""A feed that numbers its facts, is cut off amid a line, and sends again what was not answered."""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Callable, Sequence
from typing import Final

_MOST_UNANSWERED: Final = 200
_RETRY_SECONDS: Final = 0.05


class Feed:
    """Publishes to some users in turn; `published` has the number of each one's last fact.

    Args:
        path: The ingest socket, also after a restart.
        users: Whose facts it publishes; nobody else publishes theirs.
        facts: How many, in all.
        rate: Facts a second.
    """

    def __init__(
        self, path: Callable[[], str], users: Sequence[str], facts: int, rate: float
    ) -> None:
        self._path = path
        self._facts = facts
        self._rate = rate
        self._numbers = dict.fromkeys(users, 0)
        self._turns = itertools.cycle(users)
        self._unanswered: dict[int, bytes] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._sent = 0
        self._due = 0.0

    @property
    def published(self) -> dict[str, int]:
        """The number of each user's last fact."""
        return dict(self._numbers)

    async def run(self) -> None:
        """Publish everything, until the last line is answered."""
        self._due = time.monotonic()
        while self._sent < self._facts or self._unanswered:
            with contextlib.suppress(OSError):
                await self._publish()
            await asyncio.sleep(_RETRY_SECONDS)

    def cut(self) -> None:
        """Break the connection in the middle of a line."""
        if self._writer is not None:
            self._writer.write(b'{"ref":0,"type":"alert:new","userId":"us')
            self._writer.close()

    async def _publish(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._path())
        self._writer = writer
        answers = asyncio.create_task(self._read_answers(reader))
        try:
            writer.write(b"".join(self._unanswered.values()))
            while self._sent < self._facts and not answers.done():
                self._write_what_is_due(writer)
                await writer.drain()
                await asyncio.sleep(0.005)
            await answers
        finally:
            self._writer = None
            answers.cancel()
            writer.transport.abort()

    def _write_what_is_due(self, writer: asyncio.StreamWriter) -> None:
        now = time.monotonic()
        while self._due <= now and self._sent < self._facts:
            if len(self._unanswered) >= _MOST_UNANSWERED:
                self._due = now  # the server sets the pace
                return
            line = self._next_line()
            self._unanswered[self._sent] = line
            writer.write(line)
            self._due += 1 / self._rate

    def _next_line(self) -> bytes:
        self._sent += 1
        user = next(self._turns)
        self._numbers[user] += 1
        number = self._numbers[user]
        data = {
            "alertId": f"a-{number}",
            "level": "info",
            "message": "m",
            "n": number,
            "t": time.monotonic_ns(),
        }
        message = {"ref": self._sent, "type": "alert:new", "userId": user, "key": f"k-{number}"}
        line = json.dumps({**message, "data": data}, separators=(",", ":"))
        return line.encode() + b"\n"

    async def _read_answers(self, reader: asyncio.StreamReader) -> None:
        while self._unanswered or self._sent < self._facts:
            line = await reader.readline()
            if not line.endswith(b"\n"):
                return
            answer = json.loads(line)
            assert answer["ok"], answer
            self._unanswered.pop(answer["ref"], None)
