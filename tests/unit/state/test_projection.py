"""The current state as a whole: `sseserver.state.projection`."""

import pytest

from sseserver.config import LimitsConfig
from sseserver.errors import FeedError
from sseserver.events import Event, JsonObject, Quote
from sseserver.state.projection import MAX_AGENTS, Projection


def make_projection(limits: LimitsConfig | None = None, max_users: int = 100) -> Projection:
    """Return an empty projection."""
    return Projection(limits or LimitsConfig(), max_users)


def make_order(order_id: str = "o-1", status: str = "new") -> JsonObject:
    """Return the payload of an `order:update`."""
    return {"orderId": order_id, "symbol": "AAPL", "side": "buy", "qty": 10, "status": status}


def make_position(symbol: str = "AAPL", quantity: int = 10, entry_price: int = 150) -> JsonObject:
    """Return the payload of a `position:update`."""
    return {"symbol": symbol, "quantity": quantity, "entryPrice": entry_price}


def make_quote(event_id: int, symbol: str = "AAPL", price: float = 160) -> Quote:
    """Return a quote."""
    return Quote(event_id, symbol, price, {"symbol": symbol, "price": price})


def make_status(event_id: int) -> Event:
    """Return an `agent:status`."""
    return Event(event_id, "agent:status", b"{}", route="ai-decisions")


def holders(projection: Projection, *users: str) -> list[str]:
    """Return which of these users hold any position."""
    return [user for user in users if projection.positions_snapshot(user, "now")["positions"]]


# Facts


def test_orders_are_kept_by_user() -> None:
    """An order is in the snapshot of its user alone."""
    projection = make_projection()
    projection.update_order("u-1", make_order())

    assert projection.orders_snapshot("u-1", "now") == {
        "snapshot": True,
        "orders": [make_order()],
        "timestamp": "now",
    }
    assert projection.orders_snapshot("u-2", "now")["orders"] == []


def test_an_order_update_is_merged() -> None:
    """A second update of an order is merged into the first."""
    projection = make_projection()
    projection.update_order("u-1", make_order())

    projection.update_order("u-1", {**make_order(status="canceled"), "reason": "user"})

    assert projection.orders_snapshot("u-1", "now")["orders"] == [
        {**make_order(status="canceled"), "reason": "user"}
    ]


def test_a_fill_follows_its_order() -> None:
    """A fill gets its status from the stored order, which follows."""
    projection = make_projection()
    projection.update_order("u-1", make_order())
    data: JsonObject = {"orderId": "o-1", "filledQty": 10, "filledAvgPrice": 150}

    projection.fill_order("u-1", data)

    assert data["status"] == "filled"
    assert projection.orders_snapshot("u-1", "now")["orders"] == [{**make_order(), **data}]


def test_a_position_update_returns_its_payload() -> None:
    """A position of the feed becomes the payload that goes out, and stays in the snapshot."""
    projection = make_projection()
    item = {
        "symbol": "AAPL",
        "quantity": "10",
        "entryPrice": "150",
        "currentPrice": "150",
        "unrealizedPnL": 0.0,
    }

    payload = projection.update_position("u-1", make_position(), 1)

    assert payload == {"positions": [item], "totalValue": 1500.0}
    assert projection.positions_snapshot("u-1", "now") == {
        "snapshot": True,
        "positions": [item],
        "totalValue": 1500.0,
        "timestamp": "now",
    }


def test_a_refused_update_leaves_no_trace() -> None:
    """A user whose only message was refused is not known afterwards, and displaced nobody."""
    projection = make_projection(max_users=1)
    projection.update_order("u-1", make_order())

    with pytest.raises(FeedError):
        projection.update_position("u-2", {"symbol": "AAPL", "quantity": 1}, 1)

    assert projection.user_count == 1
    assert projection.orders_snapshot("u-1", "now")["orders"] == [make_order()]


def test_put_orders_replace() -> None:
    """Orders that are put replace all others of the user."""
    projection = make_projection()
    projection.update_order("u-1", make_order("o-1"))

    projection.put_orders("u-1", [make_order("o-2")])

    assert projection.orders_snapshot("u-1", "now")["orders"] == [make_order("o-2")]


def test_put_positions_replace() -> None:
    """Positions that are put replace all others of the user."""
    projection = make_projection()
    projection.update_position("u-1", make_position("AAPL"), 1)

    projection.put_positions("u-1", [make_position("MSFT")], 2)

    positions = projection.positions_snapshot("u-1", "now")["positions"]
    assert [item["symbol"] for item in positions] == ["MSFT"]


# Prices


def test_positions_are_valued_at_the_last_quote() -> None:
    """A quote is the price of every holder, watched or not."""
    projection = make_projection()
    projection.update_position("u-1", make_position(), 1)

    projection.set_price(make_quote(2, price=160))

    assert projection.positions_snapshot("u-1", "now")["totalValue"] == 1600.0


def test_a_price_put_with_an_older_id_gives_way_to_the_quote() -> None:
    """The ID decides whether a quote is newer than positions that are put."""
    projection = make_projection()
    projection.set_price(make_quote(5, price=160))

    projection.put_positions("u-1", [{**make_position(), "currentPrice": 155}], 4)
    projection.put_positions("u-2", [{**make_position(), "currentPrice": 155}], 6)

    assert projection.positions_snapshot("u-1", "now")["totalValue"] == 1600.0
    assert projection.positions_snapshot("u-2", "now")["totalValue"] == 1550.0


def test_prices_snapshot_has_flag_prices_and_timestamp() -> None:
    """The snapshot is the contract's `price:update` with the flag `initializing`."""
    projection = make_projection()
    for number, symbol in enumerate(("AAPL", "MSFT")):
        projection.set_price(make_quote(number, symbol))

    assert projection.prices_snapshot(frozenset({"MSFT"}), "now") == {
        "initializing": True,
        "prices": [{"symbol": "MSFT", "price": 160}],
        "timestamp": "now",
    }


def test_quotes_after_an_id() -> None:
    """The last quotes later than an ID, in order."""
    projection = make_projection()
    first, second, third = make_quote(1, "A"), make_quote(2, "B"), make_quote(3, "A")
    for quote in (first, second, third):
        projection.set_price(quote)

    assert projection.quotes_after(None, 1) == [second, third]


def test_instruments_are_bounded() -> None:
    """Past the limit the longest silent instrument goes."""
    projection = make_projection(LimitsConfig(max_instruments=2))
    for event_id, symbol in enumerate(("A", "B", "A", "C")):
        projection.set_price(make_quote(event_id, symbol))

    assert [quote.symbol for quote in projection.quotes_after(None, -1)] == ["A", "C"]
    assert projection.instrument_count == 2
    assert projection.take_evictions() == {"instruments": 1}


# Re-valuation


def test_watched_holders_are_revalued() -> None:
    """A price notes the watched holders of its instrument, and nobody else."""
    projection = make_projection()
    for user, symbol in (("u-1", "AAPL"), ("u-2", "MSFT"), ("u-3", "AAPL"), ("u-4", "AAPL")):
        projection.update_position(user, make_position(symbol), 1)
    for user in ("u-1", "u-2", "u-3"):
        projection.watch(user)

    projection.set_price(make_quote(2))

    assert projection.has_revaluations
    assert projection.take_revaluations() == ["u-1", "u-3"]


def test_taking_revaluations_clears_them() -> None:
    """After they were taken there are none until the next price."""
    projection = make_projection()
    projection.update_position("u-1", make_position(), 1)
    projection.watch("u-1")
    projection.set_price(make_quote(2))
    projection.take_revaluations()

    assert not projection.has_revaluations
    assert projection.take_revaluations() == []


def test_a_price_nobody_watched_holds_is_no_revaluation() -> None:
    """Without a watched holder a price notes nothing."""
    projection = make_projection()
    projection.update_position("u-1", make_position(), 1)

    projection.set_price(make_quote(2))

    assert not projection.has_revaluations


def test_a_user_may_be_watched_before_anything_is_held() -> None:
    """A position opened while its user is watched is re-valued from then on."""
    projection = make_projection()
    projection.watch("u-1")
    projection.update_position("u-1", make_position(), 1)

    projection.set_price(make_quote(2))

    assert projection.take_revaluations() == ["u-1"]


def test_put_positions_are_revalued() -> None:
    """Positions put while their user is watched are re-valued, and those replaced no more."""
    projection = make_projection()
    projection.watch("u-1")
    projection.update_position("u-1", make_position("AAPL"), 1)
    projection.put_positions("u-1", [make_position("MSFT")], 2)

    projection.set_price(make_quote(3, "AAPL"))
    assert projection.take_revaluations() == []

    projection.set_price(make_quote(4, "MSFT"))
    assert projection.take_revaluations() == ["u-1"]


def test_a_closed_position_is_not_revalued() -> None:
    """What is not held any more moves nobody."""
    projection = make_projection()
    projection.watch("u-1")
    projection.update_position("u-1", make_position(), 1)
    projection.update_position("u-1", make_position(quantity=0), 2)

    projection.set_price(make_quote(3))

    assert not projection.has_revaluations


def test_watches_are_counted() -> None:
    """A user with two streams is re-valued until both are gone."""
    projection = make_projection()
    projection.update_position("u-1", make_position(), 1)
    projection.watch("u-1")
    projection.watch("u-1")

    projection.unwatch("u-1")
    projection.set_price(make_quote(2))
    assert projection.take_revaluations() == ["u-1"]

    projection.unwatch("u-1")
    projection.set_price(make_quote(3))
    assert projection.take_revaluations() == []


def test_revaluation_lists_what_moved_after_an_id() -> None:
    """A re-valuation has what moved after the ID, and None stands for nothing."""
    projection = make_projection()
    projection.update_position("u-1", make_position("AAPL"), 1)
    projection.update_position("u-1", make_position("MSFT"), 2)
    projection.set_price(make_quote(3, "AAPL"))
    projection.set_price(make_quote(4, "MSFT"))

    assert projection.revaluation("u-1", 3, "now") == {
        "positions": [
            {
                "symbol": "MSFT",
                "quantity": "10",
                "entryPrice": "150",
                "currentPrice": "160",
                "unrealizedPnL": 100.0,
            }
        ],
        "totalValue": 3200.0,
        "timestamp": "now",
    }
    assert projection.revaluation("u-1", 4, "now") is None


def test_an_unknown_user_has_no_revaluation() -> None:
    """A user who holds nothing is not re-valued."""
    assert make_projection().revaluation("u-1", 0, "now") is None


# Agents


def test_the_newest_status_of_each_agent_is_kept() -> None:
    """Of an agent's statuses the newest is kept, and all come in the order of IDs."""
    projection = make_projection()
    statuses = [make_status(event_id) for event_id in range(4)]
    for agent, status in zip(("a", "b", "c", "a"), statuses, strict=True):
        projection.set_agent_status(agent, status)

    assert projection.agent_statuses_after(1) == [statuses[2], statuses[3]]


def test_statuses_come_by_the_id_they_have_now() -> None:
    """A status that was held back and sent under a later ID comes at its new place."""
    projection = make_projection()
    first, second = make_status(1), make_status(2)
    projection.set_agent_status("a", first)
    projection.set_agent_status("b", second)

    first.id = 3

    assert projection.agent_statuses_after(0) == [second, first]


def test_agents_are_bounded() -> None:
    """Past the limit the longest silent agent goes, and is counted."""
    projection = make_projection()
    for number in range(MAX_AGENTS):
        projection.set_agent_status(f"a-{number}", make_status(number))
    projection.set_agent_status("a-0", make_status(MAX_AGENTS))

    projection.set_agent_status("new", make_status(MAX_AGENTS + 1))

    kept = [status.id for status in projection.agent_statuses_after(-1)]
    assert kept == list(range(2, MAX_AGENTS + 2))
    assert projection.take_evictions() == {"agents": 1}


# Bounds and counters


def test_the_longest_untouched_user_goes() -> None:
    """Past the limit the user goes to whom nothing has happened for longest."""
    projection = make_projection(max_users=2)
    projection.update_position("u-1", make_position(), 1)
    projection.update_position("u-2", make_position(), 2)
    projection.update_order("u-1", make_order())

    projection.update_position("u-3", make_position(), 3)

    assert holders(projection, "u-1", "u-2", "u-3") == ["u-1", "u-3"]
    assert projection.take_evictions() == {"users": 1}


def test_a_watched_user_stays() -> None:
    """A user with an open stream is not the one to go."""
    projection = make_projection(max_users=2)
    projection.update_position("u-1", make_position(), 1)
    projection.update_position("u-2", make_position(), 2)
    projection.watch("u-1")

    projection.update_position("u-3", make_position(), 3)

    assert holders(projection, "u-1", "u-2", "u-3") == ["u-1", "u-3"]


def test_where_all_are_watched_the_longest_untouched_goes() -> None:
    """The number of users is bounded whatever the number of streams; its index goes as well."""
    projection = make_projection(max_users=2)
    for event_id, user in enumerate(("u-1", "u-2", "u-3")):
        projection.watch(user)
        projection.update_position(user, make_position(), event_id)

    projection.set_price(make_quote(9))

    assert holders(projection, "u-1", "u-2", "u-3") == ["u-2", "u-3"]
    assert projection.take_revaluations() == ["u-2", "u-3"]


def test_an_evicted_user_comes_back_watched() -> None:
    """A watched user who went is re-valued again as soon as something is held again."""
    projection = make_projection(max_users=1)
    projection.watch("u-1")
    projection.update_position("u-1", make_position(), 1)
    projection.update_position("u-2", make_position(), 2)
    projection.update_position("u-1", make_position(), 3)

    projection.set_price(make_quote(9))

    assert projection.take_revaluations() == ["u-1"]


def test_a_user_with_nothing_is_forgotten() -> None:
    """A user whose last position is closed and who has no orders takes no room."""
    projection = make_projection(max_users=1)
    projection.update_position("u-1", make_position(), 1)
    projection.update_position("u-1", make_position(quantity=0), 2)
    assert projection.user_count == 0

    projection.update_position("u-2", make_position(), 3)
    projection.put_orders("u-3", [])

    assert (projection.user_count, projection.take_evictions()) == (1, {})


def test_counters_follow() -> None:
    """Users, orders and positions are counted through updates, puts, closes and evictions."""
    projection = make_projection(
        LimitsConfig(max_orders_per_user=2, max_positions_per_user=2), max_users=2
    )

    def counters() -> tuple[int, int, int]:
        return projection.user_count, projection.order_count, projection.position_count

    projection.put_orders("u-1", [make_order(f"o-{number}") for number in range(4)])
    projection.update_position("u-1", make_position(), 1)
    assert counters() == (1, 2, 1)
    projection.update_order("u-2", make_order())
    projection.put_positions("u-2", [make_position(symbol) for symbol in "ABC"], 2)
    assert counters() == (2, 3, 3)
    projection.update_position("u-2", make_position("B", quantity=0), 3)
    assert counters() == (2, 3, 2)
    projection.update_order("u-3", make_order())
    assert counters() == (2, 2, 1)


def test_evictions_are_taken_once() -> None:
    """Each kind is counted until it is taken; kinds without any are left out."""
    projection = make_projection(LimitsConfig(max_orders_per_user=1, max_positions_per_user=1))
    projection.put_orders("u-1", [make_order(f"o-{number}") for number in range(3)])
    projection.put_positions("u-1", [make_position(symbol) for symbol in "AB"], 1)

    assert projection.take_evictions() == {"orders": 2, "positions": 1}
    assert projection.take_evictions() == {}
