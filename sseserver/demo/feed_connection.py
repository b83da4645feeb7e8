"""One connection to the ingest port: lines out, each with a reference, and their answers in."""

import asyncio
from typing import Any, Final

import msgspec
import structlog

from sseserver.events import JsonObject

MAX_UNANSWERED_LINES: Final = 256
"""Lines in flight; a second of the busiest market in the recordings has 222."""

_log = structlog.get_logger()
# A number as the decimal it is, with the digits it has: 150.20, not 150.2.
_encoder: Final = msgspec.json.Encoder(decimal_format="number")


class FeedConnection:
    """Sends lines without waiting for each answer, but never many ahead of the answers.

    A refused line is logged as an error: the demo says nothing that the contract forbids, so
    it is a bug.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._last_ref = 0
        self._unanswered: dict[int, JsonObject] = {}
        # Serves who waits in turn: a flood of prices cannot keep the orders waiting.
        self._window = asyncio.Semaphore(MAX_UNANSWERED_LINES)
        self._is_settled = asyncio.Event()

    async def send(self, line: JsonObject) -> None:
        """Write one line; waits while too many are unanswered or the socket takes no more."""
        await self._window.acquire()
        self._last_ref += 1
        self._unanswered[self._last_ref] = line
        self._is_settled.clear()
        self._writer.write(_encoder.encode(line | {"ref": self._last_ref}) + b"\n")
        await self._writer.drain()

    async def settle(self) -> None:
        """Wait until every line has been answered."""
        await self._is_settled.wait()

    async def read_answers(self) -> None:
        """Take answers for as long as the connection lives.

        Raises:
            ConnectionError: The server closed the connection.
        """
        while line := await self._reader.readline():
            answer: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
            sent = self._unanswered.pop(answer.get("ref", 0), None)
            if not answer["ok"]:
                self._log_refusal(answer["error"], sent or {})
            if sent is not None:
                self._window.release()
            if not self._unanswered:
                self._is_settled.set()
        raise ConnectionError("the server closed the ingest connection")

    def _log_refusal(self, error: JsonObject, sent: JsonObject) -> None:
        _log.error(
            "demo_line_refused",
            error=error,
            type=sent.get("type", sent.get("op")),
            data=_encoder.encode(sent.get("data")).decode(),
        )

    def close(self) -> None:
        """Close the connection; lines without an answer may not have been taken."""
        self._writer.close()
