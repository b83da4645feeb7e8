"""The `publish` command: events or operations to the ingest port, its answers to the terminal.

One thread and one `select` for both directions. Lines are sent ahead of the answers, up to a
window, because a line at a time would wait a round trip for each. Nothing here needs an event
loop, and standard input may be a file, which epoll refuses.
"""

import os
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from sseserver.client.printable import escape_unprintable
from sseserver.wire.ndjson import LineSplitter

MAX_UNANSWERED_LINES: Final = 1000
"""Lines in flight; enough to keep the server busy, few enough to say where it broke."""

START_SECONDS: Final = 2.0
"""How long a server that is just being started may take until it listens."""

_LOOK_SECONDS: Final = 0.05  # between two looks whether it does

_CHUNK_BYTES: Final = 65536  # the usual capacity of a Linux pipe
_MAX_LINE_BYTES: Final = 16 * 1024 * 1024  # whatever the server's limit is, it is lower

Prepare: TypeAlias = Callable[[bytes, int], bytes]


def add_reference(line: bytes, ref: int) -> bytes:
    """Return a message with a `ref`, so that it is answered; one that has its own keeps it.

    A line that is not a JSON object is returned as it is: the server says what is wrong with
    it, and always answers.
    """
    try:
        # Raw values: what the caller wrote (`1.10`) reaches the server as it was written.
        fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return line
    if bytes(fields.get("ref", b"null")) != b"null":
        return line
    return msgspec.json.encode(fields | {"ref": ref})


def wrap(event_type: str, user_id: str | None) -> Prepare:
    """Return what makes a publish message of a line that is only the event's `data`."""

    def wrap_line(line: bytes, ref: int) -> bytes:
        try:
            # Checked first: a line must not be able to end the object it is put into.
            data = msgspec.Raw(msgspec.json.format(line, indent=-1))
        except (msgspec.MsgspecError, RecursionError):
            return line
        message: dict[str, object] = {"ref": ref, "type": event_type, "data": data}
        if user_id is not None:
            message["userId"] = user_id
        return msgspec.json.encode(message)

    return wrap_line


def run(path: str, text: str | None, event_type: str | None, user_id: str | None) -> int:
    """Publish one event, or NDJSON from standard input, and print every answer.

    Args:
        path: The ingest port's Unix socket.
        text: One event as JSON; None reads lines from standard input.
        event_type: When given, each line is the `data` of an event of this type.
        user_id: Whose events these are; only together with `event_type`.

    Returns:
        0 when the server accepted everything, also where there was nothing; else 1.

    Source: contract sections 1 and 3.
    """
    prepare = add_reference if event_type is None else wrap(event_type, user_id)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            _connect(connection, path)
        except OSError as error:
            _complain(f"cannot connect to {path}: {_explain(error)}")
            return 1
        connection.settimeout(0)  # never blocks: `select` says when
        exchange = _Exchange(connection, prepare)
        if text is None:
            code = exchange.run(sys.stdin.fileno())
            if exchange.sent == 0 and code == 0:
                _complain("standard input held no line: nothing was published")
            return code
        # An argument may be indented over several lines; raw line ends mean nothing in JSON.
        exchange.add_lines(os.fsencode(text).replace(b"\r", b" ").replace(b"\n", b" ") + b"\n")
        return exchange.run(None)


def _connect(connection: socket.socket, path: str) -> None:
    """Connect; a server that does not listen yet is waited for.

    Raises:
        OSError: Still nobody listens, or the path cannot be used at all.
    """
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() >= deadline:
                raise
            time.sleep(_LOOK_SECONDS)
        else:
            return


def _explain(error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return "no such socket; is the server running there (--ingest names another path)?"
        case ConnectionRefusedError():
            return "no server listens on it"
        case _:
            return error.strerror or str(error)


def _complain(text: str) -> None:
    sys.stderr.write(f"sseserver publish: {escape_unprintable(text)}\n")


class _Exchange:
    """Lines on their way to the server and the answers that are still to come.

    Every line is answered exactly once and in order (contract section 3), so a count is all
    that pairs them.

    Attributes:
        sent: Lines so far, those too long to be sent included.
    """

    def __init__(self, connection: socket.socket, prepare: Prepare) -> None:
        self._connection = connection
        self._prepare = prepare
        self._lines = LineSplitter(_MAX_LINE_BYTES)
        self._answers = LineSplitter(_MAX_LINE_BYTES)
        self._outbox = bytearray()
        self.sent = 0
        self._unanswered = 0
        self._has_failed = False

    def add_lines(self, data: bytes) -> None:
        """Queue the lines that `data` completes."""
        for line in self._lines.feed(data):
            self.sent += 1
            if line is None:
                _complain(f"line {self.sent} is longer than {_MAX_LINE_BYTES} bytes: left out")
                self._has_failed = True
            else:
                self._outbox += self._prepare(line, self.sent) + b"\n"
                self._unanswered += 1

    def run(self, source: int | None) -> int:
        """Exchange lines until `source` has ended and all is answered; return the exit code.

        Args:
            source: File descriptor to read lines from.
        """
        while source is not None or self._unanswered > 0:
            readers: list[int | socket.socket] = [self._connection]
            if source is not None and self._has_room():
                readers.append(source)
            writers = [self._connection] if self._outbox else []
            readable, writable, _ = select.select(readers, writers, [])
            if writable:
                self._send()
            if source in readable:
                assert source is not None, "None is never selected"
                source = self._read_source(source)
            if self._connection in readable and not self._receive():
                unanswered = f" before it answered {self._unanswered}" if self._unanswered else ""
                _complain(f"the server closed the connection{unanswered}")
                return 1
        return int(self._has_failed)

    def _has_room(self) -> bool:
        # May be overshot by the lines of one chunk, which is a bound as well.
        return self._unanswered < MAX_UNANSWERED_LINES and len(self._outbox) < _CHUNK_BYTES

    def _read_source(self, source: int) -> int | None:
        data = os.read(source, _CHUNK_BYTES)
        # At the end, the last line may lack its newline.
        self.add_lines(data or b"\n")
        return source if data else None

    def _send(self) -> None:
        try:
            sent = self._connection.send(self._outbox)
        except (BrokenPipeError, ConnectionResetError):
            # Answers may still be waiting to be read; their end says that it broke.
            self._outbox.clear()
        else:
            del self._outbox[:sent]

    def _receive(self) -> bool:
        """Print the answers that have come; return whether more can come."""
        try:
            data = self._connection.recv(_CHUNK_BYTES)
        except ConnectionResetError:
            return False
        for answer in self._answers.feed(data):
            self._unanswered -= 1
            if answer is None or not _is_ok(answer):
                self._has_failed = True
            if answer is not None:
                sys.stdout.write(escape_unprintable(answer.decode("utf-8", "replace")) + "\n")
        sys.stdout.flush()
        return bool(data)


class _Answer(msgspec.Struct):
    """What matters of an answer."""

    ok: bool = False


_answer_decoder: Final = msgspec.json.Decoder(_Answer)


def _is_ok(answer: bytes) -> bool:
    try:
        return _answer_decoder.decode(answer).ok
    except msgspec.DecodeError:
        return False
