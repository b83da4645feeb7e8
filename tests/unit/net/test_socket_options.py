"""Tests of `sseserver.net.socket_options`, on real TCP connections: the kernel is the claim."""

import contextlib
import socket
import sys
from collections.abc import Iterator

import pytest

from sseserver.net.socket_options import (
    NOT_SENT_LOW_WATER_BYTES,
    PROBE_COUNT,
    PROBE_IDLE_SECONDS,
    PROBE_INTERVAL_SECONDS,
    SEND_BUFFER_BYTES,
    USER_TIMEOUT_MS,
    progress_of,
    set_client_options,
)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a TCP connection."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), timeout=10) as ours,
    ):
        theirs, _ = listener.accept()
        theirs.settimeout(10)
        with theirs:
            yield ours, theirs


class FakeSocket:
    """A socket whose kernel knows less, or nothing any more."""

    def __init__(self, info: bytes | None) -> None:
        self._info = info

    def fileno(self) -> int:
        return -1

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        raise OSError("closed")

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        if self._info is None:
            raise OSError("closed")
        return self._info


def test_options_are_set(pair: tuple[socket.socket, socket.socket]) -> None:
    """No delay, a bounded send buffer, probes and a time limit for what is not acknowledged."""
    ours, _ = pair
    set_client_options(ours)
    tcp = socket.IPPROTO_TCP

    assert {
        "no delay": 1,
        "send buffer": 2 * SEND_BUFFER_BYTES,
        "keepalive": 1,
        "idle": PROBE_IDLE_SECONDS,
        "interval": PROBE_INTERVAL_SECONDS,
        "count": PROBE_COUNT,
        "user timeout": USER_TIMEOUT_MS,
        "not sent": NOT_SENT_LOW_WATER_BYTES,
    } == {
        "no delay": ours.getsockopt(tcp, socket.TCP_NODELAY),
        "send buffer": ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
        "keepalive": ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        "idle": ours.getsockopt(tcp, socket.TCP_KEEPIDLE),
        "interval": ours.getsockopt(tcp, socket.TCP_KEEPINTVL),
        "count": ours.getsockopt(tcp, socket.TCP_KEEPCNT),
        "user timeout": ours.getsockopt(tcp, socket.TCP_USER_TIMEOUT),
        "not sent": ours.getsockopt(tcp, 25),
    }


def test_connections_have_what_their_listener_has() -> None:
    """The kernel hands the options on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        set_client_options(listener)
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                found = [
                    accepted.getsockopt(level, option)
                    for level, option in (
                        (socket.IPPROTO_TCP, socket.TCP_NODELAY),
                        (socket.SOL_SOCKET, socket.SO_SNDBUF),
                        (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
                        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
                        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
                        (socket.IPPROTO_TCP, 25),
                    )
                ]

    assert [
        1,
        2 * SEND_BUFFER_BYTES,
        1,
        PROBE_IDLE_SECONDS,
        PROBE_INTERVAL_SECONDS,
        PROBE_COUNT,
        USER_TIMEOUT_MS,
        NOT_SENT_LOW_WATER_BYTES,
    ] == found


def test_of_a_socket_that_is_gone_nothing_is_known() -> None:
    """Its protocol learns of the end by itself."""
    assert progress_of(FakeSocket(None)) is None


def test_progress_is_what_the_peer_acknowledged(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Bytes the peer has read are acknowledged, and nothing waits."""
    ours, theirs = pair
    before = progress_of(ours)
    ours.sendall(b"x" * 1000)
    received = 0
    while received < 1000:
        received += len(theirs.recv(1000))
    theirs.sendall(b"y")  # brings the acknowledgement along
    ours.recv(1)
    after = progress_of(ours)

    assert before is not None
    assert after is not None
    assert (1000, 0) == (after.acknowledged_bytes - before.acknowledged_bytes, after.waiting_bytes)


def test_what_the_peer_does_not_take_waits(pair: tuple[socket.socket, socket.socket]) -> None:
    """Bytes the kernel could not deliver are counted, and none more is acknowledged."""
    ours, _ = pair
    set_client_options(ours)
    ours.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += ours.send(b"x" * 65_536)
    progress = progress_of(ours)

    assert progress is not None
    assert 0 < progress.waiting_bytes < sent
    assert progress.acknowledged_bytes + progress.waiting_bytes <= sent + 1


def test_an_old_kernel_does_not_say() -> None:
    """Before Linux 4.1 the kernel's answer is too short for the counter."""
    with socket.socket() as sock:

        class OldSocket(FakeSocket):
            def fileno(self) -> int:
                return sock.fileno()

        assert progress_of(OldSocket(b"\0" * 127)) is None


def test_other_systems_do_not_say(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside Linux the common options are set and progress is unknown."""
    ours, theirs = pair
    monkeypatch.setattr(sys, "platform", "darwin")
    set_client_options(ours)

    assert progress_of(ours) is None
    assert 1 == ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert PROBE_IDLE_SECONDS != theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
    assert PROBE_IDLE_SECONDS != ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
