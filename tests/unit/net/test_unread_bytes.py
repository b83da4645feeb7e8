"""Tests of `sseserver.net.unread_bytes`, on real Unix sockets."""

import socket
from collections.abc import Iterator

import pytest

from sseserver.net.unread_bytes import MAX_UNREAD_BYTES, second_descriptor, take_unread

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Return a feed's end of a connection and ours."""
    feed, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with feed, ours:
        yield feed, ours


def spare_of(sock: socket.socket) -> socket.socket:
    """Return the second descriptor of a connection, which there has to be."""
    spare = second_descriptor(sock)
    assert spare is not None
    return spare


def test_what_was_sent_survives_the_first_descriptor(pair: Pair) -> None:
    """After both ends have closed, the bytes between them can still be read."""
    feed, ours = pair
    spare = spare_of(ours)
    feed.sendall(b"a\nb\n")
    feed.close()
    ours.close()

    assert take_unread(spare) == b"a\nb\n"


def test_nothing_is_waited_for(pair: Pair) -> None:
    """An end that is still open and has no more to say is no reason to wait."""
    feed, ours = pair
    spare = spare_of(ours)
    feed.sendall(b"a")

    assert (take_unread(spare), spare.fileno()) == (b"a", -1)


def test_a_lot_is_read_in_pieces(pair: Pair) -> None:
    """More than one read's worth is returned whole."""
    feed, ours = pair
    spare = spare_of(ours)
    feed.setblocking(False)
    size = feed.send(b"x" * 150_000)

    assert size > 65_536
    assert take_unread(spare) == b"x" * size


def test_what_is_read_is_bounded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound no further piece is read."""
    assert MAX_UNREAD_BYTES == 1 << 20
    monkeypatch.setattr("sseserver.net.unread_bytes.MAX_UNREAD_BYTES", 100_000)
    feed, ours = pair
    spare = spare_of(ours)
    feed.setblocking(False)
    size = feed.send(b"x" * 150_000)

    assert size > 140_000
    assert len(take_unread(spare)) == 131_072


def test_a_connection_that_breaks_gives_what_it_has(pair: Pair) -> None:
    """A reset ends the reading and is no error."""
    feed, ours = pair
    spare = spare_of(ours)
    ours.sendall(b"never read")
    feed.close()

    assert take_unread(spare) == b""


@pytest.mark.parametrize("is_closed", [False, True])
def test_there_may_be_none_to_spare(is_closed: bool) -> None:
    """Without a socket, or where the system refuses, there is no second descriptor."""
    sock = socket.socket() if is_closed else None
    if sock is not None:
        sock.close()

    assert second_descriptor(sock) is None
