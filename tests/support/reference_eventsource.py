"""An EventSource parser of its own, written from the WHATWG text and from nothing else.

It shares no code with the server: what it reads is what a browser would dispatch.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Dispatched:
    """One event as a page receives it."""

    type: str
    data: str
    last_event_id: str
    retry_ms: int | None = None


@dataclass
class ReferenceEventSource:
    """Interprets a stream incrementally (WHATWG HTML 9.2.6); bytes may be cut anywhere."""

    last_event_id: str = ""
    retry_ms: int | None = None
    events: list[Dispatched] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    _rest: bytes = b""
    _data: list[str] = field(default_factory=list)
    _type: str = ""
    _id: str | None = None
    _retry: int | None = None

    def feed(self, data: bytes) -> list[Dispatched]:
        """Take bytes and return the events that they complete."""
        known = len(self.events)
        self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            self._line(line.removesuffix(b"\r").decode("utf-8"))
        return self.events[known:]

    def _line(self, line: str) -> None:
        if not line:
            self._dispatch()
            return
        name, colon, value = line.partition(":")
        if colon and not name:
            self.comments.append(value.removeprefix(" "))
            return
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self._retry = int(value)
            case _:
                pass

    def _dispatch(self) -> None:
        if self._id is not None:
            self.last_event_id = self._id
        if self._retry is not None:
            self.retry_ms = self._retry
        if self._data:
            self.events.append(
                Dispatched(
                    self._type or "message",
                    "\n".join(self._data),
                    self.last_event_id,
                    self._retry,
                )
            )
        self._data = []
        self._type = ""
        self._id = None
        self._retry = None
