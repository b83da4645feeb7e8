"""A broadcast: prices of 100 symbols, each to every client. What servers are compared by."""

import time
from typing import Final

from bench.load import COUNTER, STAMP, Load, Outcome, run
from bench.measured import Processes
from bench.peers import Peer

CLIENTS: Final = 1000

_SYMBOLS: Final = 100
_TIMESTAMP: Final = "2026-01-02T14:30:00.000Z"
"""Given, as sseserver would add one of its own and be measured with longer events."""

_IDLE_SHARE: Final = 0.1
_IDLE_LOOK_SECONDS: Final = 0.2
_IDLE_WAIT_SECONDS: Final = 30.0


def price(number: int) -> bytes:
    """Return the data of one price: JSON of 107 bytes, about 175 as an event on the wire."""
    return (
        f'{{"symbol":"S{number:02}","price":{100 + number}.25,'
        f'"timestamp":"{_TIMESTAMP}",{STAMP},{COUNTER}}}'
    ).encode("ascii")


def broadcast(
    peer: Peer,
    rate: float,
    *,
    clients: int = CLIENTS,
    warmup: float = 1.0,
    seconds: float = 3.0,
    drain: float = 2.0,
) -> Outcome:
    """Send prices to a server and measure what its clients receive.

    Args:
        peer: The server.
        rate: Prices a second.
        clients: Open streams.
        warmup: Seconds before what is measured.
        seconds: Length of what is measured.
        drain: Seconds to wait at most for what is still under way.
    """
    processes = Processes(peer.pids)
    load = Load(
        peer.host,
        peer.port,
        [peer.request] * clients,
        coding=peer.coding,
        feed=peer.feed,
        messages=[peer.message(price(number)) for number in range(_SYMBOLS)],
        rate=rate,
        warmup=warmup,
        seconds=seconds,
        drain=drain,
        counter_step=1,
    )
    outcome = run(load, processes)
    _wait_until_idle(processes)
    return outcome


def _wait_until_idle(processes: Processes) -> None:
    """Let a server that was overrun finish, so that the next run does not pay for this one."""
    deadline = time.monotonic() + _IDLE_WAIT_SECONDS
    before = processes.cpu_seconds()
    while time.monotonic() < deadline:
        time.sleep(_IDLE_LOOK_SECONDS)
        now = processes.cpu_seconds()
        if now - before < _IDLE_SHARE * _IDLE_LOOK_SECONDS:
            return
        before = now
