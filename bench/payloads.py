"""Events as traders get them, varied as theirs are: what compression is measured with.

They carry no stamp, which would be the same in every event and no client needs.
"""

import random
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any, Final, NamedTuple

from bench.latency import RATE
from bench.sseserver import PRICES, price_message, stream_request
from bench.traders import ORDERS, session

_SYMBOLS: Final = 100
_WINDOWS_PER_SECOND: Final = 10
_ROUNDS: Final = 50
"""Prices of each symbol before they begin anew: far more than any window reaches back."""

_FOLLOWERS: Final = 10
_USERS: Final = 50
_ORDERS_PER_USER: Final = 30
_ORDER_EVENTS_PER_SECOND: Final = 10
"""To each user."""


class Payload(NamedTuple):
    """Events of one kind, and who receives them.

    Attributes:
        name: What it is called in a table.
        targets: Share of the bytes that a coding is to save.
        settings: Of the server.
        path: The stream.
        users: Who opens a stream each; None for a client without a session.
        messages: What is sent in turn.
        rate: Messages a second.
    """

    name: str
    targets: Mapping[str, float]
    settings: Mapping[str, Any]
    path: str
    users: Sequence[str | None]
    messages: Sequence[bytes]
    rate: float

    @property
    def sessions(self) -> list[bytes]:
        """What the server is told first."""
        return [session(user) for user in self.users if user is not None]

    def requests(self, coding: str) -> list[bytes]:
        """Return what the clients ask for."""
        return [stream_request(self.path, coding=coding, session=user) for user in self.users]


def payloads() -> tuple[Payload, ...]:
    """Return prices in windows, prices one by one, and orders one by one."""
    users = [f"user-{number}" for number in range(_USERS)]
    return (
        Payload(
            "prices, windows of 100 symbols",
            {"gzip": 0.7, "zstd": 0.7},
            {"batching.threshold_per_second": 1},
            PRICES,
            [None] * _FOLLOWERS,
            _prices(),
            _SYMBOLS * _WINDOWS_PER_SECOND,
        ),
        Payload(
            "prices, one by one",
            {},
            {"batching.threshold_per_second": 1_000_000},
            PRICES,
            [None] * _FOLLOWERS,
            _prices(),
            RATE,
        ),
        Payload(
            "private orders, one by one",
            {"gzip": 0.6},
            {},
            ORDERS,
            users,
            _orders(users),
            _USERS * _ORDER_EVENTS_PER_SECOND,
        ),
    )


def _prices() -> list[bytes]:
    """Return prices of a hundred symbols in turn, each of which wanders."""
    chance = random.Random(1)
    names = _names(chance)
    cents = [chance.randrange(1_000, 50_000) for _ in names]
    lines: list[bytes] = []
    for _ in range(_ROUNDS):
        for number, name in enumerate(names):
            cents[number] += chance.randrange(-20, 21)
            price = cents[number] / 100
            data = (
                f'{{"symbol":"{name}","price":{price:.2f},"bid":{price - 0.01:.2f},'
                f'"ask":{price + 0.01:.2f},"volume":{chance.randrange(1_000_000)}}}'
            )
            lines.append(price_message(data.encode()))
    return lines


def _orders(users: Sequence[str]) -> list[bytes]:
    """Return what happens to orders of all users by turns: each is new, accepted, filled."""
    chance = random.Random(2)
    names = _names(chance)
    lines: list[bytes] = []
    for _ in range(_ORDERS_PER_USER):
        orders = [_order(user, chance.choice(names), chance) for user in users]
        for events in zip(*orders, strict=True):
            lines.extend(events)
    return lines


def _order(user: str, symbol: str, chance: random.Random) -> tuple[bytes, bytes, bytes]:
    order_id = f"{chance.getrandbits(48):012x}"
    side, qty = chance.choice(("buy", "sell")), chance.randrange(1, 500)
    cents = chance.randrange(1_000, 50_000)
    start = f'{{"ref":1,"userId":"{user}","type":'
    update = (
        f'{start}"order:update","data":{{"orderId":"{order_id}","symbol":"{symbol}",'
        f'"side":"{side}","qty":{qty},"limitPrice":"{cents / 100:.2f}","status":'
    )
    fill = (
        f'{start}"order:fill","data":{{"orderId":"{order_id}","filledQty":{qty},'
        f'"filledAvgPrice":"{(cents - chance.randrange(20)) / 100:.2f}"}}}}\n'
    )
    return f'{update}"new"}}}}\n'.encode(), f'{update}"accepted"}}}}\n'.encode(), fill.encode()


def _names(chance: random.Random) -> list[str]:
    names: dict[str, None] = {}
    while len(names) < _SYMBOLS:
        names["".join(chance.choices(ascii_uppercase, k=chance.randrange(2, 5)))] = None
    return list(names)
