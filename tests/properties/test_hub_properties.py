"""The whole core against a model: who gets what, once, in order, and what is left at the end.

Users, streams of every kind and coding, peers that stall, break and return, buffers and limits
that are far too small, while everything is published that a feed can publish. The model knows
what was published and nothing of how it is delivered.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sseserver.errors import CloseReason
from sseserver.event_id import parse_event_id
from sseserver.events import Event
from sseserver.hub.replay_buffer import event_bytes
from sseserver.hub.subscription import StreamRequest
from tests.support.core import Core, request_for
from tests.support.fake_connection import FakeConnection
from tests.support.reference_eventsource import ReferenceEventSource

QUANTITY: Final = {"u-1": "7", "u-2": "9"}
USERS: Final = tuple(QUANTITY)
SYMBOLS: Final = ("A", "B", "C")
AGENTS: Final = ("g", "h")
STREAMS: Final = (
    "alerts", "orders", "positions", "trading", "prices", "ai-decisions", "strategies/s-1",
)  # fmt: skip
FACTS: Final = (
    ("alert:new", None),
    ("order:fill", None),
    ("ai:decision", None),
    ("strategy:update", "strategies/s-1"),
    ("strategy:update", "strategies/s-2"),
)
FILTERS: Final = (None, frozenset({"A"}), frozenset({"A", "B"}), frozenset[str]())
LIMITS: Final = {
    "buffer.events_per_user": st.sampled_from([1, 3, 100]),
    "buffer.max_users": st.sampled_from([1, 100]),
    "buffer.max_bytes": st.sampled_from([4096, 12_000, 1 << 20]),
    "buffer.ttl_seconds": st.sampled_from([1, 300]),
    "limits.max_backlog_bytes": st.sampled_from([4096, 16_384]),
    "limits.connections_per_user": st.sampled_from([1, 2, 10]),
    "batching.threshold_per_second": st.sampled_from([1, 3, 1000]),
    "compression.max_contexts": st.sampled_from([0, 1, 100]),
}
MAX_CLIENTS: Final = 6
FUTURE: Final = 1 << 70
GRACE_SECONDS: Final = 1.0
"""How long a peer may be too far behind."""

users = st.sampled_from(("u-1", "u-1", "u-1", "u-2"))  # mostly one, so that they meet
symbols = st.sampled_from(SYMBOLS)
clients = st.integers(0, MAX_CLIENTS - 1)


@st.composite
def requests(draw: st.DrawFn) -> StreamRequest:
    """Return what a client may ask for; stream, coding and framing are the run's."""
    user_id, is_counted = draw(users), draw(st.booleans())
    return request_for(
        "alerts",
        user_id,
        symbols=draw(st.sampled_from(FILTERS)),
        is_counted=is_counted,
        session_key=user_id.encode() if is_counted else None,
        wants_replay=draw(st.booleans()),
    )


ARGUMENTS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "publish_facts": st.tuples(
        users,
        st.integers(0, len(FACTS) - 1),
        st.integers(1, 15),
        st.sampled_from([0, 0, 900, 9000]),  # beside a backlog of 4096 or 16,384
        st.booleans(),
    ),
    "publish_position": st.tuples(users, symbols, st.booleans(), st.booleans()),
    "publish_price": st.tuples(symbols, st.integers(1, 3)),
    "publish_status": st.tuples(st.sampled_from(AGENTS)),
    "put_orders": st.tuples(users),
    "put_positions": st.tuples(users, st.sets(symbols)),
    "broadcast_test": st.just(()),
    "flush": st.just(()),
    "end_window": st.just(()),
    "pass_time": st.tuples(
        st.sampled_from([0.02, 0.02, 1.1, 31.0, 301.0]), st.sampled_from([0, -100_000])
    ),
    "open": st.tuples(requests(), st.integers(0, 2), st.booleans()),
    "open_another": st.tuples(clients, st.booleans()),
    "stall": st.tuples(clients),
    "take": st.tuples(clients, st.integers(1, 9000)),
    "read_on": st.tuples(clients, st.booleans()),
    "leave": st.tuples(clients),
    "break_and_return": st.tuples(
        clients,
        st.sampled_from([0, 0, 1, 40, 300, 3000]),
        st.sampled_from(["last", "last", "last", "future", "past"]),
        st.booleans(),
    ),
    "end_session": st.tuples(users),
    "end_strategy": st.tuples(users),
}
OFTEN: Final = ("publish_facts", "publish_facts", "publish_price", "flush", "open", "read_on")
actions = st.one_of(*(st.tuples(st.just(name), ARGUMENTS[name]) for name in (*ARGUMENTS, *OFTEN)))


@dataclass
class Client:
    """One connection, with what was true when it opened."""

    connection: FakeConnection
    request: StreamRequest
    opened_id: int
    buffered: list[int]
    """IDs of the facts that its stream could have been replayed."""


@dataclass
class View:
    """What a page that believes every event knows in the end."""

    facts: list[int] = field(default_factory=list)
    prices: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    positions: dict[str, str] = field(default_factory=dict)
    orders: list[str] | None = None


class Trading(RuleBasedStateMachine):
    """Everything that can happen to the core, in any order.

    A run has a few kinds of streams and some of the actions only, so that what is there meets
    often; the actions come in lists, so that a run of some steps holds a few hundred of them.
    """

    @initialize(
        limits=st.fixed_dictionaries(LIMITS),
        streams=st.lists(st.sampled_from(STREAMS), min_size=1, max_size=3),
        encoding=st.sampled_from(["identity", "gzip", "zstd"]),
        is_chunked=st.booleans(),
        max_clients=st.sampled_from([1, 2, 3, MAX_CLIENTS]),
        left_out=st.sets(st.sampled_from(sorted(ARGUMENTS)), max_size=12),
    )
    def start(
        self,
        limits: dict[str, int],
        streams: list[str],
        encoding: str,
        max_clients: int,
        left_out: set[str],
        *,
        is_chunked: bool,
    ) -> None:
        self.core = Core(limits, max_accounts=100)
        self.backlog = limits["limits.max_backlog_bytes"]
        self.streams = streams
        self.max_clients = max_clients
        self.left_out = left_out - {"open"}
        self.encoding = encoding
        self.is_chunked = is_chunked
        self.flushed = 0
        self.windows = 0
        self.number = 0
        self.clients: list[Client] = []
        self.ended: list[Client] = []
        self.facts: dict[str, list[tuple[int, str]]] = {user_id: [] for user_id in USERS}
        self.facts_by_number: dict[int, tuple[int, str]] = {}
        self.prices: dict[str, int] = {}
        self.statuses: dict[str, tuple[int, int]] = {}
        self.orders: dict[str, list[str]] = {user_id: [] for user_id in USERS}

    @rule(steps=st.lists(actions, min_size=5, max_size=20))
    def act(self, steps: list[tuple[str, Any]]) -> None:
        for name, arguments in steps:
            if name not in self.left_out:
                getattr(self, name)(*arguments)
                self.sort_out_ended()

    # Publishing

    def next_number(self) -> int:
        self.number += 1
        return self.number

    def publish_facts(
        self, user_id: str, first: int, count: int, pad_bytes: int, is_urgent: bool
    ) -> None:
        for index in range(first, first + count):
            event_type, route = FACTS[index % len(FACTS)]
            event = self.core.fact(
                user_id,
                self.next_number(),
                event_type,
                route=route,
                pad_bytes=pad_bytes,
                is_urgent=is_urgent,
            )
            self.note(event)

    def publish_position(self, user_id: str, symbol: str, is_closed: bool, is_priced: bool) -> None:
        number = self.next_number()
        data = {"quantity": "0" if is_closed else QUANTITY[user_id]}
        if is_priced:
            data["currentPrice"] = str(number)
        self.note(self.core.position(user_id, number, symbol, **data))

    def note(self, event: Event) -> None:
        assert event.user_id is not None
        self.facts[event.user_id].append((event.id, event.route))
        self.facts_by_number[self.number] = (event.id, event.user_id)

    def publish_price(self, symbol: str, count: int) -> None:
        for _ in range(count):
            self.prices[symbol] = self.next_number()
            self.core.price(symbol, self.prices[symbol])

    def publish_status(self, agent_id: str) -> None:
        number = self.next_number()
        self.statuses[agent_id] = (self.core.status(agent_id, number).id, number)

    def put_orders(self, user_id: str) -> None:
        self.orders[user_id] = [f"{user_id}-{self.next_number()}"]
        self.core.put_orders(user_id, self.orders[user_id])

    def put_positions(self, user_id: str, held: set[str]) -> None:
        self.core.put_positions(user_id, sorted(held), QUANTITY[user_id])

    def broadcast_test(self) -> None:
        self.core.broadcast_test()

    # Time

    def flush(self) -> None:
        if self.core.flush_wishes > self.flushed:
            self.flushed = self.core.flush_wishes
            self.core.hub.flush()

    def end_window(self) -> None:
        if len(self.core.window_wishes) > self.windows:
            self.windows = len(self.core.window_wishes)
            self.core.hub.end_window()

    def pass_time(self, seconds: float, step_ms: int) -> None:
        self.core.pass_time(seconds)
        if seconds > GRACE_SECONDS:
            self.check_backlogs()
        self.core.clock.step_wall(step_ms)

    def check_backlogs(self) -> None:
        """Check that nobody is left who has been too far behind for too long."""
        frame = self.core.hub.frames.frame
        for user in filter(None, map(self.core.hub.users.get, USERS)):
            for stream in user.parked:
                if stream.is_parked and stream.sink.is_paused:
                    lacking = [*(stream.held or ())]
                    lacking += user.buffer.after(stream.last_id, stream.request.routes)
                    assert sum(len(frame(event)) for event in lacking[1:]) <= self.backlog // 2

    # Clients

    def open(self, request: StreamRequest, kind: int, is_stalled: bool) -> None:
        stream = self.streams[kind % len(self.streams)]
        is_private = stream != "prices"
        asked = request_for(
            stream,
            request.user_id,
            symbols=None if is_private else request.symbols,
            encoding=self.encoding,
            is_chunked=self.is_chunked,
            is_counted=is_private and request.is_counted,
            session_key=request.session_key if is_private else None,
            wants_replay=request.wants_replay,
        )
        self.connect(asked, is_stalled)

    def connect(self, request: StreamRequest, is_stalled: bool) -> None:
        if len(self.clients) == self.max_clients:
            return
        user = None if request.user_id is None else self.core.hub.users.get(request.user_id)
        buffered = [] if user is None else [e.id for e in user.buffer.after(0, request.routes)]
        connection = FakeConnection(self.core.hub, self.backlog // 2)
        connection.takes_all = not is_stalled
        self.clients.append(Client(connection, request, self.core.hub.ids.last, buffered))
        connection.open(request)

    def open_another(self, index: int, is_stalled: bool) -> None:
        """Join an audience that exists."""
        if self.clients:
            request = self.clients[index % len(self.clients)].request
            self.connect(request._replace(last_event_id=None), is_stalled)

    def stall(self, index: int) -> None:
        if self.clients:
            self.clients[index % len(self.clients)].connection.takes_all = False

    def take(self, index: int, size: int) -> None:
        if self.clients:
            self.clients[index % len(self.clients)].connection.take(size)

    def read_on(self, index: int, stays_stalled: bool) -> None:
        if self.clients:
            connection = self.clients[index % len(self.clients)].connection
            connection.takes_all = not stays_stalled
            connection.take_until_drained()

    def leave(self, index: int) -> None:
        if self.clients:
            client = self.clients.pop(index % len(self.clients))
            client.connection.cut()
            self.check(client)

    def break_and_return(self, index: int, cut: int, names: str, is_stalled: bool) -> None:
        if not self.clients:
            return
        client = self.clients.pop(index % len(self.clients))
        client.connection.cut()
        source, _ = self.check(client, cut)
        request = client.request
        if request.user_id is not None:
            named = {"future": self.core.hub.ids.last + FUTURE, "past": 1}.get(
                names, parse_event_id(source.last_event_id) or request.last_event_id
            )
            request = request._replace(last_event_id=named)
        self.connect(request, is_stalled)

    def end_session(self, user_id: str) -> None:
        self.core.hub.streams.end_session(user_id.encode())
        assert [] == self.core.hub.streams.of_session(user_id.encode())

    def end_strategy(self, user_id: str) -> None:
        user = self.core.hub.users.get(user_id)
        if user is not None:
            self.core.hub.streams.end_route(user, "strategies/s-1", CloseReason.STRATEGY_GONE)

    def sort_out_ended(self) -> None:
        """Take out the clients that the server has ended."""
        for client in [c for c in self.clients if c.connection.reason is not None]:
            self.clients.remove(client)
            self.ended.append(client)

    # What must be true

    @invariant()
    def memory_is_counted_and_bounded(self) -> None:
        if not hasattr(self, "core"):
            return
        users = self.core.hub.users
        known = [user for user in map(users.get, USERS) if user is not None]
        assert len(users) == len(known)
        assert users.buffered_events == sum(len(user.buffer) for user in known)
        assert users.buffered_bytes == sum(
            event_bytes(event) for user in known for event in user.buffer.events
        )
        assert users.buffered_bytes <= self.core.config.buffer.max_bytes
        for user in known:
            assert len(user.buffer) <= self.core.config.buffer.events_per_user

    def teardown(self) -> None:
        if not hasattr(self, "core"):
            return
        for _ in range(2):
            self.flush()
            self.end_window()
            for index in range(len(self.clients)):
                self.read_on(index, stays_stalled=False)
        self.flush()
        for client in self.clients:
            _, view = self.check(client)
            self.check_all_arrived(client, view)
        for client in self.ended:
            client.connection.take_until_drained()
            self.check(client)
        self.check_nothing_is_left()

    def check(self, client: Client, cut: int = 0) -> tuple[ReferenceEventSource, View]:
        """Check a stream as far as it came; the last `cut` bytes of it did not."""
        whole = client.connection.source()
        source = client.connection.source(max(0, len(client.connection.body) - cut))
        expected = self.expected_facts(client, whole)
        ids = client.connection.ids()
        assert ids == sorted(set(ids)), "IDs strictly increase"
        view = View()
        for event in source.events:
            self.believe(client, view, event.type, json.loads(event.data))
            assert view.facts == expected[: len(view.facts)], "facts exactly once, in order"
            lacking = expected[len(view.facts) :]
            # After `connected` alone nobody knows whether a gap follows.
            if len(whole.events) > 1 and lacking:
                last_id = parse_event_id(event.last_event_id)
                assert last_id is None or last_id < lacking[0], "every ID is a place to resume from"
        return source, view

    def expected_facts(self, client: Client, source: ReferenceEventSource) -> list[int]:
        """Return the IDs of the facts that this stream is to bring, from the published ones."""
        request = client.request
        if request.user_id is None:
            return []
        carried = [i for i, route in self.facts[request.user_id] if route in request.routes]
        later = [event_id for event_id in carried if event_id > client.opened_id]
        gaps = [json.loads(e.data)["reason"] for e in source.events if e.type == "stream:gap"]
        if request.last_event_id is None:
            return [*(client.buffered if request.wants_replay else ()), *later]
        if not gaps:
            return [event_id for event_id in carried if event_id > request.last_event_id]
        after_id = 0 if gaps == ["unknown"] else request.last_event_id
        return [*(event_id for event_id in client.buffered if event_id > after_id), *later]

    def believe(self, client: Client, view: View, event_type: str, data: dict[str, Any]) -> None:
        """Take one event over, as a page would, and check that it concerns this client."""
        request = client.request
        match event_type:
            case "agent:status":
                assert data["n"] > view.statuses.get(data["agentId"], 0), "never back"
                view.statuses[data["agentId"]] = data["n"]
                return
            case "price:update":
                for item in data.get("prices", [data]):
                    symbol, price = item["symbol"], item["price"]
                    assert request.symbols is None or symbol in request.symbols
                    assert price >= view.prices.get(symbol, 0), "a price never goes back"
                    view.prices[symbol] = price
            case "position:update":
                if data.get("snapshot"):
                    view.positions.clear()
                for item in data["positions"]:
                    assert item["quantity"] in {"0", QUANTITY[str(request.user_id)]}
                    view.positions[item["symbol"]] = item["currentPrice"]
                    if item["quantity"] == "0":
                        del view.positions[item["symbol"]]
            case "order:update":
                view.orders = [order["orderId"] for order in data["orders"]]
            case _:
                pass
        if "n" in data:
            event_id, user_id = self.facts_by_number[data["n"]]
            assert user_id == request.user_id, "nobody receives another user's event"
            view.facts.append(event_id)

    def check_all_arrived(self, client: Client, view: View) -> None:
        """Check what a client knows once everything is out."""
        request = client.request
        assert view.facts == self.expected_facts(client, client.connection.source())
        if request.user_id is None:
            assert view.prices == {
                symbol: price
                for symbol, price in self.prices.items()
                if request.symbols is None or symbol in request.symbols
            }
            return
        if "positions" in request.routes:
            held = self.core.projection.positions_snapshot(request.user_id, "now")["positions"]
            assert view.positions == {item["symbol"]: item["currentPrice"] for item in held}
        if "orders" in request.routes:
            assert view.orders == self.orders[request.user_id]
        if "ai-decisions" in request.routes:
            for agent_id, (event_id, number) in self.statuses.items():
                if event_id > client.opened_id:
                    assert view.statuses[agent_id] == number

    def check_nothing_is_left(self) -> None:
        core = self.core
        for client in self.clients:
            client.connection.cut()
        for user in filter(None, map(core.hub.users.get, USERS)):
            assert ({}, {}, {}, {}) == (
                user.connections, user.counted, user.parked, user.routes,
            )  # fmt: skip
            assert [] == core.hub.streams.of_session(user.user_id.encode())
        core.pass_time(core.config.buffer.ttl_seconds + 1)
        for symbol in SYMBOLS:
            core.price(symbol, self.next_number())

        assert (0, {}, 0) == (
            len(core.hub.audiences), core.hub.streams.clients, core.hub.audiences.contexts.in_use,
        )  # fmt: skip
        assert [] == list(core.hub.audiences.with_agents())
        assert (0, 0, 0) == (
            len(core.hub.users), core.hub.users.buffered_events, core.hub.users.buffered_bytes,
        )  # fmt: skip
        assert not core.projection.has_revaluations
        assert 0 == len(core.wheel)


TestTrading = Trading.TestCase
TestTrading.settings = settings(max_examples=150, stateful_step_count=20, deadline=None)
