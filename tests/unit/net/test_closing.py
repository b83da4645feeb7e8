"""Tests of `sseserver.net.closing`."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from sseserver.net.closing import LINGER_SECONDS, MAX_LINGER_SECONDS, Closing, Patience
from sseserver.net.socket_options import progress_of
from tests.support.fake_transport import FakeTransport

NOW = 1000.0


@contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return two ends of a TCP connection, whose kernel counts what is acknowledged."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as ours,
    ):
        theirs, _ = listener.accept()
        with theirs:
            yield ours, theirs


def transport_with(unsent: int, sock: object = None, *, is_tls: bool = False) -> FakeTransport:
    """Return a transport whose peer has not taken the last bytes."""
    transport = FakeTransport(asyncio.Protocol(), sock=sock, is_tls=is_tls)
    transport.takes_all = False
    transport.write(b"x" * unsent)
    return transport


def test_our_side_is_closed_and_the_other_waited_for() -> None:
    """The transport stays, so that what the peer still sends is read and no reset answers it."""
    transport = transport_with(10)
    Closing(transport, NOW)

    assert (True, True) == (transport.has_eof, transport.is_open)


def test_tls_is_closed() -> None:
    """TLS has no half-close."""
    transport = transport_with(10, is_tls=True)
    Closing(transport, NOW)

    assert (False, False, False) == (transport.has_eof, transport.is_open, transport.is_aborted)


def test_a_peer_that_has_everything_is_cut_off() -> None:
    """It had its time to close."""
    transport = transport_with(0)

    assert Closing(transport, NOW).look(NOW + LINGER_SECONDS) is None
    assert transport.is_aborted


def test_a_peer_that_took_the_rest_had_its_time_too() -> None:
    """The time to close is not counted anew from the last byte."""
    transport = transport_with(10)
    closing = Closing(transport, NOW)
    transport.take()

    assert closing.look(NOW + LINGER_SECONDS) is None
    assert transport.is_aborted


def test_a_peer_that_takes_nothing_is_cut_off() -> None:
    """Bytes wait, and none was taken since the last look."""
    transport = transport_with(10)

    assert Closing(transport, NOW).look(NOW + LINGER_SECONDS) is None
    assert transport.is_aborted


def test_a_peer_that_reads_slowly_gets_its_bytes() -> None:
    """As long as it takes some between two looks it is not cut off."""
    transport = transport_with(10)
    closing = Closing(transport, NOW)
    transport.take(1)
    first = closing.look(NOW + 2)
    transport.take(1)
    second = closing.look(NOW + 4)

    assert [NOW + 2 + LINGER_SECONDS, NOW + 4 + LINGER_SECONDS] == [first, second]
    assert not transport.is_aborted
    assert closing.look(NOW + 6) is None
    assert transport.is_aborted


def test_nobody_takes_forever() -> None:
    """A peer that takes a byte now and then is cut off in the end."""
    transport = transport_with(100)
    closing = Closing(transport, NOW)
    looks = [NOW]
    while not transport.is_aborted:
        transport.take(1)
        looks.append(looks[-1] + LINGER_SECONDS)
        closing.look(looks[-1])

    assert NOW + MAX_LINGER_SECONDS == looks[-1]


@pytest.mark.parametrize("is_taken", [True, False])
def test_what_the_kernel_holds_counts_too(is_taken: bool) -> None:
    """Bytes handed to the kernel wait until the peer acknowledges them."""
    with tcp_pair() as (ours, theirs):
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                ours.send(b"x" * 65_536)
        transport = transport_with(0, ours)
        closing = Closing(transport, NOW)
        if is_taken:
            before = progress_of(ours)
            theirs.settimeout(10)
            while progress_of(ours) == before:  # acknowledged once there is room for more
                theirs.recv(16_384)
        look = closing.look(NOW + 2)

    assert (NOW + 2 + LINGER_SECONDS if is_taken else None) == look
    assert (not is_taken) == transport.is_aborted


def test_a_peer_may_be_given_more_time() -> None:
    """As long as something waits for it, and not without end."""
    transport = transport_with(10)
    closing = Closing(transport, NOW, patience=Patience(10.0, 20.0))
    looks = [closing.look(NOW + seconds) for seconds in (2.0, 8.0)]
    transport.take(1)
    looks += [closing.look(NOW + seconds) for seconds in (10.0, 18.0)]
    is_patient = not transport.is_aborted

    assert [4.0, 10.0, 12.0, 20.0] == [look - NOW for look in looks if look is not None]
    assert is_patient
    assert closing.look(NOW + 20.0) is None
    assert transport.is_aborted
