"""Tests of `sseserver.hub.prices`."""

from itertools import count

import pytest

from sseserver.config import BatchingConfig
from sseserver.delivery.audience import Audience
from sseserver.event_id import format_event_id
from sseserver.events import Quote
from sseserver.hub.prices import PriceFanout
from sseserver.wire.compression import IDENTITY
from sseserver.wire.sse_frame import FrameEncoder
from tests.unit.delivery.fake_member import FakeMember


class Group:
    """An audience of one, and what that one has been sent."""

    def __init__(self) -> None:
        self.audience = Audience(
            object(),
            IDENTITY,
            is_chunked=False,
            on_dirty=lambda _: None,
            keepalive_seconds=30.0,
            now=0.0,
        )
        self.member = FakeMember()
        self.audience.admit(self.member, b"", 0.0)

    def received(self) -> bytes:
        """Flush, and return all that has been sent."""
        self.audience.flush(0.0)
        return b"".join(self.member.writes)


class Market:
    """A fan-out to which quotes are published with IDs that count from 100.

    Attributes:
        new_ids: What `release` gives out.
    """

    def __init__(self, threshold_per_second: int = 1000) -> None:
        batching = BatchingConfig(threshold_per_second=threshold_per_second)
        self.fanout = PriceFanout(batching, FrameEncoder(5000, 0))
        self.ids = count(100)
        self.new_ids = count(500)

    def audience(self, symbols: frozenset[str] | None = None) -> Group:
        """Add an audience for some symbols, or for all."""
        group = Group()
        self.fanout.add(group.audience, symbols)
        return group

    def publish(self, symbol: str, price: int, now: float = 0.0) -> bool:
        """Publish a price; True when it is held back."""
        return self.fanout.publish(quote(next(self.ids), symbol, price), now)

    def release(self) -> None:
        """End the window."""
        self.fanout.release(lambda: next(self.new_ids))


def quote(event_id: int, symbol: str, price: int) -> Quote:
    """Return a quote as the ingest makes it."""
    return Quote(event_id, symbol, price, {"symbol": symbol, "price": price})


def frame(event_id: int, symbol: str, price: int) -> bytes:
    """Return how a quote looks on the wire."""
    return b'event: price:update\ndata: {"symbol":"%b","price":%d}\nid: %b\nretry: 5000\n\n' % (
        symbol.encode(),
        price,
        format_event_id(event_id).encode(),
    )


def test_below_the_threshold_a_quote_goes_to_whoever_wants_its_symbol() -> None:
    """Unfiltered audiences get all, filtered ones their symbols, under the ingest ID."""
    market = Market()
    groups = [market.audience(symbols) for symbols in (None, frozenset("AB"), frozenset("C"))]
    held = [market.publish("A", 1), market.publish("C", 2)]

    assert [False, False] == held
    assert [
        frame(100, "A", 1) + frame(101, "C", 2),
        frame(100, "A", 1),
        frame(101, "C", 2),
    ] == [group.received() for group in groups]


def test_a_quote_is_encoded_once_for_all_audiences() -> None:
    """Every audience is handed the same bytes object."""
    market = Market()
    groups = [market.audience(), market.audience(frozenset("A"))]
    market.publish("A", 1)
    for group in groups:
        group.audience.flush(0.0)

    assert groups[0].member.writes[0] is groups[1].member.writes[0]


def test_a_quote_that_nobody_wants_is_not_encoded() -> None:
    """Encoding costs more than all the rest of a quote."""
    market = Market()
    market.audience(frozenset("B"))
    unwanted = quote(1, "A", 1)
    market.fanout.publish(unwanted, 0.0)

    assert unwanted.frame is None


def test_above_the_threshold_the_newest_of_each_symbol_is_held() -> None:
    """It leaves with the window, under an ID of that time; the older ones are counted."""
    market = Market(threshold_per_second=1)
    group = market.audience()
    held = [market.publish(*given) for given in (("A", 1), ("B", 2), ("A", 3), ("B", 4), ("B", 5))]
    before = group.received()
    market.release()

    assert [False, True, True, True, True] == held
    assert frame(100, "A", 1) == before
    assert before + frame(500, "B", 5) + frame(501, "A", 3) == group.received()
    assert (2, {}) == (market.fanout.conflated, market.fanout.held)


def test_a_window_in_which_nothing_is_held_releases_nothing() -> None:
    """No ID is given out for nothing."""
    market = Market()
    group = market.audience()
    market.release()

    assert (b"", 500) == (group.received(), next(market.new_ids))


def test_a_quote_that_goes_out_at_once_replaces_one_that_is_held() -> None:
    """When a burst ends before its window does, the older value is not sent after the newer."""
    market = Market(threshold_per_second=1)
    group = market.audience()
    market.publish("A", 1, now=0.0)
    market.publish("A", 2, now=0.5)
    market.publish("A", 3, now=2.0)
    market.release()

    assert frame(100, "A", 1) + frame(102, "A", 3) == group.received()


@pytest.mark.parametrize("symbols", [None, frozenset("A")])
def test_a_quote_without_an_audience_is_not_held_and_replaces_one_that_was(
    symbols: frozenset[str] | None,
) -> None:
    """Who comes back while the window lasts is not sent an older value than it has.

    The only client of a symbol is slow and leaves its audience, a newer quote comes, and the
    client catches up with that one before the window ends.
    """
    market = Market(threshold_per_second=1)
    group = market.audience(symbols)
    market.publish("A", 1)
    market.publish("A", 2)
    before = group.received()
    market.fanout.remove(group.audience, symbols)
    is_held = market.publish("A", 3)
    market.fanout.add(group.audience, symbols)
    market.release()

    assert (False, before) == (is_held, group.received())


def test_a_quote_released_after_its_audience_has_gone_has_its_new_id() -> None:
    """A client that catches up later finds it newer than what it was sent."""
    market = Market(threshold_per_second=1)
    group = market.audience()
    market.publish("A", 1)
    late = quote(2, "A", 2)
    market.fanout.publish(late, 0.0)
    market.fanout.remove(group.audience, None)
    market.release()

    assert 500 == late.id


def test_removing_an_audience_undoes_adding_it() -> None:
    """The others of its symbols stay."""
    market = Market()
    filtered, stays = market.audience(frozenset("AB")), market.audience(frozenset("A"))
    everything = market.audience()
    market.fanout.remove(filtered.audience, frozenset("AB"))
    market.fanout.remove(everything.audience, None)
    market.publish("A", 1)
    market.publish("B", 2)

    assert [b"", b"", frame(100, "A", 1)] == [
        group.received() for group in (filtered, everything, stays)
    ]


def test_an_audience_of_no_symbol_gets_nothing() -> None:
    """`?symbols=` that is empty means none (contract section 4)."""
    market = Market()
    group = market.audience(frozenset())
    market.publish("A", 1)
    market.fanout.remove(group.audience, frozenset())

    assert b"" == group.received()


def test_a_new_threshold_counts_from_now() -> None:
    """The sliding second starts anew."""
    market = Market(threshold_per_second=1)
    market.audience()
    market.publish("A", 1)
    held_before = market.publish("A", 2)
    market.fanout.configure(BatchingConfig(threshold_per_second=2))

    assert (True, [False, False, True]) == (
        held_before,
        [market.publish("A", price) for price in (3, 4, 5)],
    )
