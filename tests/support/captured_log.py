"""What the server logs, as the lines an operator would read."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import structlog

from sseserver import logs


class CapturedLog:
    """The lines written so far."""

    def __init__(self, stream: StringIO) -> None:
        self._stream = stream

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line, without its timestamp."""
        lines = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        for line in lines:
            del line["timestamp"]
        return lines

    def of(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of one event."""
        return [line for line in self.lines if line["event"] == event]


@contextmanager
def captured_log(level: str = "debug") -> Iterator[CapturedLog]:
    """Log into memory for a while, and leave no trace of it."""
    stream = StringIO()
    logs.configure(level, "json", stream)
    structlog.configure(cache_logger_on_first_use=False)
    try:
        yield CapturedLog(stream)
    finally:
        structlog.reset_defaults()
        logging.getLogger().removeHandler(logs._library_messages)
