"""An ingest port that does what a test tells it: a real Unix socket served by a thread."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

Serve = Callable[[socket.socket], None]


@contextmanager
def serving(path: Path, serve: Serve) -> Iterator[None]:
    """Accept one connection at `path` and let `serve` have it; closed when it returns."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield
        thread.join(timeout=10)
        assert not thread.is_alive(), "the fake server still waits"


def answering(received: list[bytes], answer: Callable[[bytes], bytes] | None = None) -> Serve:
    """Return a server that notes every line and answers it, as accepted unless told otherwise."""

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            for line in lines:
                received.append(line.rstrip(b"\n"))
                connection.sendall((answer or accepted)(line) + b"\n")

    return serve


def accepted(line: bytes) -> bytes:
    """Return the answer to a line that was accepted."""
    return msgspec.json.encode({"ref": msgspec.json.decode(line)["ref"], "ok": True})
