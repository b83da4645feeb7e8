"""Tests of `sseserver.hub.audiences`."""

import zlib
from dataclasses import dataclass, field
from typing import Any

import pytest

from sseserver.config import BatchingConfig, BufferConfig, CompressionConfig, StreamConfig
from sseserver.delivery.audience import Audience
from sseserver.delivery.timer_wheel import TimerWheel
from sseserver.events import Event, Quote
from sseserver.hub.audiences import Audiences, audience_key
from sseserver.hub.prices import PriceFanout
from sseserver.hub.subscription import StreamRequest, Subscription
from sseserver.hub.users import Users
from sseserver.metrics import Counters
from sseserver.wire.compression import prologue
from sseserver.wire.sse_frame import KEEPALIVE, FrameEncoder
from tests.support.core import request_for
from tests.support.fake_clock import FakeClock
from tests.support.stream_client import ZstdFrames
from tests.unit.delivery.fake_member import FakeMember
from tests.unit.hub.fake_sink import FakeSink

KEEPALIVE_SECONDS = 30.0


@dataclass
class Place:
    """Audiences with all that they are wired to; `user-1` is known."""

    max_contexts: int = 10
    clock: FakeClock = field(default_factory=FakeClock)
    counters: Counters = field(default_factory=Counters)
    wishes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wheel = TimerWheel(self.clock.monotonic())
        self.users = Users(BufferConfig(), self.wheel)
        self.user = self.users.obtain("user-1", self.clock.monotonic())
        self.prices = PriceFanout(BatchingConfig(), FrameEncoder(5000, 0))
        self.audiences = Audiences(
            users=self.users,
            prices=self.prices,
            wheel=self.wheel,
            clock=self.clock,
            counters=self.counters,
            stream=StreamConfig(keepalive_seconds=KEEPALIVE_SECONDS),
            compression=CompressionConfig(max_contexts=self.max_contexts),
            wake_flush=lambda: self.wishes.append("flush"),
        )

    def join(self, request: StreamRequest) -> tuple[Audience, FakeMember]:
        """Return the audience of a stream with a new member."""
        audience = self.audiences.obtain(request)
        member = FakeMember(request.encoding, is_chunked=request.is_chunked)
        opening = audience.admit(member, b"", self.clock.monotonic())
        assert b"" == opening
        return audience, member

    def pass_time(self, seconds: float) -> None:
        """Let time pass and fire what is due."""
        self.clock.advance(seconds)
        self.wheel.advance(self.clock.monotonic())

    def routes(self) -> dict[str, list[Audience]]:
        """Return where the events of `user-1` go."""
        return self.user.routes


def test_equal_requests_share_an_audience() -> None:
    """What differs between them (correlation ID, last event ID, session) does not matter."""
    place = Place()
    first = place.audiences.obtain(request_for(last_event_id=1, session_key=b"a"))
    second = place.audiences.obtain(request_for(is_counted=False, wants_replay=False))

    assert first is second
    assert 1 == len(place.audiences)


@pytest.mark.parametrize(
    "other",
    [
        {"stream": "orders"},
        {"user_id": "user-2"},
        {"encoding": "gzip"},
        {"is_chunked": False},
    ],
)
def test_requests_that_get_other_bytes_do_not_share(other: dict[str, Any]) -> None:
    """Stream, user, coding and framing each make an audience of their own."""
    assert audience_key(request_for()) != audience_key(request_for(**other))


def test_equal_symbol_sets_share() -> None:
    """In whatever order the symbols were asked for; all symbols are another audience."""
    place = Place()
    one = place.audiences.obtain(request_for("prices", symbols=frozenset(("A", "B"))))
    same = place.audiences.obtain(request_for("prices", symbols=frozenset(("B", "A"))))
    everything = place.audiences.obtain(request_for("prices"))

    assert one is same
    assert one is not everything


def test_a_private_stream_is_found_by_its_routes() -> None:
    """Trading carries two routes, a strategy its own; two audiences may share a route."""
    place = Place()
    trading = place.audiences.obtain(request_for("trading"))
    orders = place.audiences.obtain(request_for("orders"))
    strategy = place.audiences.obtain(request_for("strategies/s-1"))

    assert {
        "orders": [trading, orders],
        "positions": [trading],
        "strategies/s-1": [strategy],
    } == place.routes()
    assert [] == list(place.audiences.with_agents())


def test_agents_go_to_the_streams_of_decisions() -> None:
    """Whosever they are."""
    place = Place()
    place.users.obtain("user-2", 0.0)
    decisions = [
        place.audiences.obtain(request_for("ai-decisions", user_id))
        for user_id in ("user-1", "user-2")
    ]

    assert decisions == list(place.audiences.with_agents())


def test_a_price_stream_is_found_by_its_symbols() -> None:
    """It belongs to no user."""
    place = Place()
    audience, member = place.join(request_for("prices", symbols=frozenset("A")))
    for number, symbol in enumerate("AB", start=1):
        place.prices.publish(Quote(number, symbol, 1, {"symbol": symbol}), 0.0)
    place.audiences.flush()

    assert {} == place.routes()
    assert [b'event: price:update\ndata: {"symbol":"A"}\n'] == [
        text[: text.index(b"id:")] for text in member.plain
    ]
    assert not audience.is_dirty


@pytest.mark.parametrize("stream", ["trading", "ai-decisions", "prices"])
def test_the_last_who_leaves_takes_everything_along(stream: str) -> None:
    """Routes, timer, context and the audience itself are gone."""
    place = Place()
    before = len(place.wheel)
    request = request_for(stream, encoding="gzip")
    audience, member = place.join(request)
    while_there = (len(place.audiences), len(place.wheel), place.audiences.contexts.in_use)
    audience.leave(member)
    place.audiences.forget_if_empty(audience, request)

    assert (1, before + 1, 1) == while_there
    assert (0, before, 0) == (
        len(place.audiences),
        len(place.wheel),
        place.audiences.contexts.in_use,
    )
    assert ({}, []) == (place.routes(), list(place.audiences.with_agents()))


def test_a_route_that_others_use_stays() -> None:
    """Forgetting trading leaves orders where it is."""
    place = Place()
    orders = place.audiences.obtain(request_for("orders"))
    trading = place.audiences.obtain(request_for("trading"))
    place.audiences.forget_if_empty(trading, request_for("trading"))

    assert {"orders": [orders]} == place.routes()


def test_an_audience_with_a_member_is_not_forgotten() -> None:
    """Whoever asks."""
    place = Place()
    request = request_for()
    audience, _ = place.join(request)
    place.audiences.forget_if_empty(audience, request)

    assert audience is place.audiences.obtain(request)


def test_an_audience_for_which_somebody_waits_is_not_forgotten() -> None:
    """Its last member left while frames were queued; who waits for the flush will join."""
    place = Place()
    request = request_for()
    audience = place.audiences.obtain(request)
    audience.waiting.append(lambda: None)
    place.audiences.forget_if_empty(audience, request)

    assert audience is place.audiences.obtain(request)


def test_forgetting_twice_does_not_forget_the_next_one() -> None:
    """An audience that took the place of a forgotten one stays, with its members."""
    place = Place()
    request = request_for()
    former = place.audiences.obtain(request)
    place.audiences.forget_if_empty(former, request)
    latter = place.audiences.obtain(request)
    place.audiences.forget_if_empty(former, request)

    assert latter is not former
    assert latter is place.audiences.obtain(request)
    assert {"alerts": [latter]} == place.routes()


def test_one_flush_is_asked_for_however_much_is_queued() -> None:
    """The shell is woken by the first frame after a flush, and by no other."""
    place = Place()
    audiences = [place.join(request_for(stream))[0] for stream in ("alerts", "orders")]
    for audience in (*audiences, *audiences):
        audience.push(b"a", 1, 0.0)
    before = len(place.wishes)
    place.audiences.flush()
    audiences[0].push(b"b", 2, 0.0)

    assert (1, 2) == (before, len(place.wishes))


def test_a_flush_counts_deliveries_and_writes() -> None:
    """Three events to two members are six deliveries in two writes."""
    place = Place()
    place.join(request_for())
    audience, _ = place.join(request_for())
    for number in range(3):
        audience.push(b"e", number + 1, place.clock.monotonic())
    place.clock.advance(0.004)
    done = place.audiences.flush()

    assert (6, 2) == done == (place.counters.delivered_events, place.counters.writes)
    assert 6 == place.counters.delivery_latency.count
    assert 6 * 0.004 == pytest.approx(place.counters.delivery_latency.total_seconds)


def test_events_of_our_own_have_no_latency() -> None:
    """A snapshot or a re-valuation did not come from a feed."""
    place = Place()
    audience, _ = place.join(request_for())
    audience.push(b"e", 1, 0.0)
    place.audiences.flush()

    assert 0 == place.counters.delivery_latency.count


def test_an_audience_flushed_alone_is_not_flushed_again() -> None:
    """It is still on the list of those that were dirty, and may become so anew."""
    place = Place()
    audience, member = place.join(request_for())
    audience.push(b"a", 1, 0.0)
    alone = place.audiences.flush_one(audience, place.clock.monotonic())
    nothing = place.audiences.flush()
    audience.push(b"b", 2, 0.0)
    place.audiences.flush()

    assert ((1, 1), (0, 0)) == (alone, nothing)
    assert [b"a", b"b"] == member.plain


def test_a_snapshot_for_newcomers_is_dropped_by_the_next_flush() -> None:
    """It is out of date then, and may be large."""
    place = Place()
    audience, _ = place.join(request_for("prices"))
    audience.snapshot = [("price:update", b"{}")]
    audience.push(b"a", 1, 0.0)
    place.audiences.flush()

    assert audience.snapshot is None


def test_a_silent_audience_is_kept_alive() -> None:
    """The comment goes out when `keepalive_seconds` have passed since the last write."""
    place = Place()
    audience, member = place.join(request_for())
    place.pass_time(20.0)
    audience.push(b"a", 1, 0.0)
    place.audiences.flush()
    place.pass_time(29.0)
    too_early = list(member.plain)
    place.pass_time(1.1)

    assert [b"a"] == too_early
    assert [b"a", KEEPALIVE] == member.plain


def test_a_new_interval_counts_from_the_last_write() -> None:
    """A reload does not let a stream wait for longer than the new interval."""
    place = Place()
    audience, member = place.join(request_for())
    place.pass_time(8.0)
    place.audiences.configure(StreamConfig(keepalive_seconds=10.0), CompressionConfig())
    place.pass_time(2.1)
    place.pass_time(10.1)

    assert [KEEPALIVE, KEEPALIVE] == member.plain
    assert 10.0 == place.audiences.obtain(request_for("orders")).keepalive_seconds
    assert 10.0 == audience.keepalive_seconds


def test_a_reload_sets_level_and_contexts() -> None:
    """Where no context is left, a stream is compressed without one."""
    place = Place(max_contexts=1)
    place.join(request_for(encoding="gzip"))
    place.join(request_for("orders", encoding="gzip"))
    without = place.audiences.contexts.in_use
    place.audiences.configure(StreamConfig(), CompressionConfig(level=9, max_contexts=2))
    place.join(request_for("positions", encoding="gzip"))

    assert (1, 2) == (without, place.audiences.contexts.in_use)


def decoded(encoding: str, data: bytes) -> bytes:
    """Return what one piece says."""
    match encoding:
        case "gzip":
            return zlib.decompressobj(-15).decompress(data)
        case "zstd":
            return ZstdFrames().decompress(prologue("zstd") + data)
        case _:
            return data


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_bytes_for_one_stream_are_encoded_and_framed(encoding: str) -> None:
    """In the stream's own coding, and as one chunk where it chunks."""
    place = Place()
    plain = b"event: connected\n\n"
    sink = FakeSink()
    bare, framed = (
        place.audiences.apart(Subscription(request, "client-1", sink, sink.write), plain)
        for request in (
            request_for(encoding=encoding, is_chunked=False),
            request_for(encoding=encoding),
        )
    )

    assert plain == decoded(encoding, bare)
    assert b"%x\r\n%b\r\n" % (len(bare), bare) == framed


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_members_are_sent_what_their_coding_says(encoding: str) -> None:
    """Every event can be read the moment it is sent."""
    place = Place()
    audience, member = place.join(request_for(encoding=encoding))
    for number in range(3):
        audience.push(b"event %d" % number, number + 1, 0.0)
        place.audiences.flush()

    assert [b"event 0", b"event 1", b"event 2"] == member.plain


def test_every_audience_can_be_reached() -> None:
    """The event `test` goes to all of them."""
    place = Place()
    audiences = [
        place.audiences.obtain(request_for(stream)) for stream in ("alerts", "prices", "trading")
    ]

    assert audiences == list(place.audiences.all())


def test_an_event_of_a_route_reaches_each_audience_once() -> None:
    """Trading and orders of one user both show an order."""
    place = Place()
    members = [place.join(request_for(stream))[1] for stream in ("trading", "orders", "alerts")]
    frames = FrameEncoder(5000, 0)
    order = Event(2, "order:update", b"{}", route="orders", user_id="user-1")
    for audience in place.routes()["orders"]:
        audience.push(frames.frame(order), order.id, 0.0)
    place.audiences.flush()

    assert [1, 1, 0] == [len(member.plain) for member in members]
