"""What a bench is told about a peer, and why one may not be there."""

from collections.abc import Callable
from typing import Literal, NamedTuple

Coding = Literal["identity", "gzip", "zstd"]


class PeerMissingError(Exception):
    """This peer cannot run on this machine; the text says what to install."""


class PeerFailedError(Exception):
    """This peer was started and did not answer; the text ends with what it printed."""


class Peer(NamedTuple):
    """A running server: how to open a stream, how to feed it, what to measure."""

    name: str
    version: str
    host: str
    port: int
    request: bytes
    """The HTTP request that opens a stream."""
    feed: str
    """Where events go: `unix:PATH` or `http:HOST:PORT`."""
    message: Callable[[bytes], bytes]
    """Renders one message for the feed from an event's data (JSON on one line)."""
    pids: tuple[int, ...]
    """All processes of the server, for processor time and resident memory."""
    coding: Coding = "identity"
    """The content coding that `request` asks for and the server answers in."""


def stream_request(coding: Coding = "identity") -> bytes:
    """Return the request that opens a stream at a peer."""
    return (
        "GET /events HTTP/1.1\r\n"
        "Host: localhost\r\n"
        "Accept: text/event-stream\r\n"
        f"Accept-Encoding: {coding}\r\n"
        "\r\n"
    ).encode("ascii")


def line(data: bytes) -> bytes:
    """Render one message for a feed of lines."""
    return data + b"\n"
