"""A feed as somebody else would write it: lines out, answers in, in order."""

import asyncio
import json
from typing import Any, Self

TIMEOUT_SECONDS = 20.0


class FeedClient:
    """One connection to the ingest port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ref = 0

    @classmethod
    async def connect(cls, path: str) -> Self:
        """Connect to the socket at `path`."""
        return cls(*await asyncio.open_unix_connection(path, limit=1 << 24))

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    async def send_raw(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> dict[str, Any]:
        """Return the next answer."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            line = await self._reader.readline()
        assert line, "the ingest port closed the connection"
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send one message with a reference of its own and return its answer."""
        self._ref += 1
        await self.send_raw(json.dumps({"ref": self._ref, **message}).encode() + b"\n")
        answer = await self.answer()
        assert answer["ref"] == message.get("ref", self._ref)
        return answer

    async def do(self, op: str, **fields: Any) -> dict[str, Any]:
        """Do one operation that must succeed."""
        answer = await self.ask({"op": op, **fields})
        assert answer["ok"], answer
        return answer

    async def publish(self, event_type: str, data: dict[str, Any], **fields: Any) -> str:
        """Publish one event that must be accepted, and return its ID."""
        answer = await self.ask({"type": event_type, "data": data, **fields})
        assert answer["ok"], answer
        event_id: str = answer["id"]
        return event_id

    async def publish_many(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Pipeline messages and return their answers."""
        lines = []
        for message in messages:
            self._ref += 1
            lines.append(json.dumps({"ref": self._ref, **message}))
        await self.send_raw("\n".join([*lines, ""]).encode())
        return [await self.answer() for _ in messages]

    async def session(self, session_id: str, user_id: str, **fields: Any) -> None:
        """Make a session valid."""
        await self.do("session.put", sessionId=session_id, userId=user_id, **fields)
