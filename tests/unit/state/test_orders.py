"""One user's orders: `sseserver.state.orders`."""

from collections import Counter

import pytest

from sseserver.events import JsonObject
from sseserver.state.orders import FINISHED, MAX_KEPT_FIELDS, Orders


def make_orders(max_orders: int = 10) -> Orders:
    """Return no orders yet."""
    return Orders(max_orders, Counter())


def make_order(order_id: str = "o-1", status: str = "new", **fields: object) -> JsonObject:
    """Return the payload of an `order:update`."""
    return {
        "orderId": order_id,
        "symbol": "AAPL",
        "side": "buy",
        "qty": 10,
        "status": status,
        **fields,
    }


def make_fill(order_id: str = "o-1", filled: float | str = 10, **fields: object) -> JsonObject:
    """Return the payload of an `order:fill`."""
    return {"orderId": order_id, "filledQty": filled, "filledAvgPrice": 150.25, **fields}


def listed(orders: Orders) -> list[JsonObject]:
    """Return the orders of a snapshot."""
    result: list[JsonObject] = orders.snapshot("now")["orders"]
    return result


def ids(orders: Orders) -> list[str]:
    """Return the IDs of the stored orders, in order."""
    return [order["orderId"] for order in listed(orders)]


def test_snapshot_has_flag_orders_and_timestamp() -> None:
    """The snapshot is the specification's `order:update` with the flag `snapshot`."""
    orders = make_orders()
    orders.update(make_order())

    assert orders.snapshot("now") == {
        "snapshot": True,
        "orders": [make_order()],
        "timestamp": "now",
    }


def test_snapshot_without_orders_is_empty() -> None:
    """Without orders the list is empty."""
    assert listed(make_orders()) == []


def test_orders_come_as_first_seen() -> None:
    """An update does not change an order's place."""
    orders = make_orders()
    for data in (make_order("o-1"), make_order("o-2"), make_order("o-1", "accepted")):
        orders.update(data)

    assert ids(orders) == ["o-1", "o-2"]


def test_fields_not_given_persist() -> None:
    """An update replaces the fields it gives and keeps the others, unknown ones included."""
    orders = make_orders()
    orders.update(make_order(limitPrice="149.50", venue="X"))

    orders.update(make_order(status="canceled", reason="user"))

    assert listed(orders) == [
        make_order(status="canceled", limitPrice="149.50", venue="X", reason="user")
    ]


def test_a_stored_order_is_no_alias_of_the_payload() -> None:
    """What a caller does to a payload afterwards does not reach the stored order."""
    orders = make_orders()
    data = make_order()
    orders.update(data)

    data["status"] = "hacked"

    assert listed(orders) == [make_order()]


def test_a_snapshot_stays_what_it_was() -> None:
    """An update does not reach into a snapshot that was handed out."""
    orders = make_orders()
    orders.update(make_order())
    snapshot = orders.snapshot("now")

    orders.update(make_order(status="filled"))

    assert snapshot["orders"] == [make_order()]


@pytest.mark.parametrize(
    ("qty", "filled", "status"),
    [
        (10, 10, "filled"),
        (10, 9.5, "partially_filled"),
        (10, 11, "filled"),
        ("10.0", "10.00", "filled"),
        ("0.3", 0.3, "filled"),
        (0.3, "0.2999999999999999999999", "partially_filled"),
        (10, 0, "partially_filled"),
    ],
)
def test_a_fill_says_how_far_its_order_is(
    qty: float | str, filled: float | str, status: str
) -> None:
    """A fill is `filled` when its cumulative quantity reaches the order's, compared exactly."""
    orders = make_orders()
    orders.update(make_order(qty=qty))
    data = make_fill(filled=filled)

    orders.fill(data)

    assert data == make_fill(filled=filled, status=status)


def test_the_stored_order_follows_a_fill() -> None:
    """Status and fill are merged into the stored order."""
    orders = make_orders()
    orders.update(make_order())

    orders.fill(make_fill(filled=4, timestamp="T"))

    assert listed(orders) == [
        make_order(status="partially_filled", filledQty=4, filledAvgPrice=150.25, timestamp="T")
    ]


def test_a_fill_overrides_the_status_of_the_feed() -> None:
    """The status of a fill is computed, whatever a feed says."""
    data = make_fill(status="rejected", qty=20)

    make_orders().fill(data)

    assert data["status"] == "partially_filled"


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"qty": 10}, "filled"), ({"qty": 11}, "partially_filled"), ({}, "partially_filled")],
)
def test_the_fill_of_an_unknown_order_decides_itself(fields: JsonObject, status: str) -> None:
    """Without a known order the fill's own `qty` decides, and without that it is partial."""
    data = make_fill(**fields)

    make_orders().fill(data)

    assert data["status"] == status


def test_the_fill_of_an_unknown_order_is_stored() -> None:
    """An order first heard of by its fill is in the snapshot."""
    orders = make_orders()

    orders.fill(make_fill(qty=20, symbol="AAPL"))

    assert listed(orders) == [make_fill(qty=20, symbol="AAPL", status="partially_filled")]


def test_an_order_known_without_size_takes_that_of_a_fill() -> None:
    """A later fill that gives `qty` settles an order first heard of by a fill without one."""
    orders = make_orders()
    orders.fill(make_fill(filled=5))
    data = make_fill(filled=10, qty=10)

    orders.fill(data)

    assert data["status"] == "filled"


def test_a_fill_does_not_change_the_size_of_an_order() -> None:
    """The stored `qty` decides against the fill's and stays."""
    orders = make_orders()
    orders.update(make_order(qty=20))
    data = make_fill(filled=10, qty=10)

    orders.fill(data)

    assert data["status"] == "partially_filled"
    assert data["qty"] == 10
    assert listed(orders)[0]["qty"] == 20


def test_replace_forgets_what_was() -> None:
    """Orders that are put replace all others."""
    orders = make_orders()
    orders.update(make_order("o-1", venue="X"))

    orders.replace([make_order("o-2"), make_order("o-1")])

    assert listed(orders) == [make_order("o-2"), make_order("o-1")]


def test_of_two_orders_with_one_id_the_later_is_put() -> None:
    """A list that names an order twice means the later entry, whole."""
    orders = make_orders()

    orders.replace([make_order("o-1", venue="X"), make_order("o-2"), make_order("o-1", "filled")])

    assert listed(orders) == [make_order("o-2"), make_order("o-1", "filled")]


def test_replace_is_bounded() -> None:
    """A list longer than the limit is cut by the same rule: finished orders first."""
    orders = make_orders(2)

    orders.replace([make_order("o-1"), make_order("o-2", "filled"), make_order("o-3")])

    assert ids(orders) == ["o-1", "o-3"]


def test_replaced_orders_are_not_finished_any_more() -> None:
    """What was finished before a put does not count afterwards."""
    orders = make_orders(2)
    orders.update(make_order("o-1", "filled"))
    orders.update(make_order("o-2", "filled"))
    orders.replace([make_order("o-0"), make_order("o-1")])

    orders.update(make_order("o-3"))

    assert ids(orders) == ["o-1", "o-3"]


@pytest.mark.parametrize("status", sorted(FINISHED))
def test_a_finished_order_goes_first(status: str) -> None:
    """Past the limit a finished order goes before older open ones."""
    orders = make_orders(2)
    for data in (make_order("o-1"), make_order("o-2", status), make_order("o-3")):
        orders.update(data)

    assert ids(orders) == ["o-1", "o-3"]


def test_the_order_finished_longest_goes_first() -> None:
    """Among finished orders the one goes that has been finished for longest."""
    orders = make_orders(3)
    for data in (
        make_order("o-1"),
        make_order("o-2", "filled"),
        make_order("o-3", "canceled"),
        make_order("o-1", "filled"),
        make_order("o-4"),
    ):
        orders.update(data)

    assert ids(orders) == ["o-1", "o-3", "o-4"]


def test_a_finished_order_that_is_updated_keeps_its_turn() -> None:
    """Being told again that an order is finished does not make it finished later."""
    orders = make_orders(2)
    for data in (
        make_order("o-1", "filled"),
        make_order("o-2", "filled"),
        make_order("o-1", "filled", reason="late"),
        make_order("o-3"),
    ):
        orders.update(data)

    assert ids(orders) == ["o-2", "o-3"]


def test_an_order_that_is_open_again_is_not_finished() -> None:
    """A status that is not final takes an order out of those that go first."""
    orders = make_orders(2)
    for data in (
        make_order("o-1"),
        make_order("o-2", "filled"),
        make_order("o-2", "replaced"),
        make_order("o-3"),
    ):
        orders.update(data)

    assert ids(orders) == ["o-2", "o-3"]


def test_an_order_that_a_fill_finishes_goes_first() -> None:
    """A fill finishes an order as an update does, and the limit holds for fills."""
    orders = make_orders(2)
    orders.update(make_order("o-1"))
    orders.update(make_order("o-2"))
    orders.fill(make_fill("o-2"))

    orders.fill(make_fill("o-3", 1))

    assert ids(orders) == ["o-1", "o-3"]


def test_finished_orders_go_one_by_one() -> None:
    """As many finished orders go as there are too many, and then the oldest of all."""
    orders = make_orders(2)
    for number, status in enumerate(("new", "filled", "filled", "new", "new", "new")):
        orders.update(make_order(f"o-{number}", status))

    assert ids(orders) == ["o-4", "o-5"]


def test_without_finished_orders_the_oldest_goes() -> None:
    """Where nothing is finished the order first seen goes."""
    orders = make_orders(2)
    for order_id in ("o-1", "o-2", "o-3"):
        orders.update(make_order(order_id))

    assert ids(orders) == ["o-2", "o-3"]


def test_evicted_orders_are_counted() -> None:
    """Each order that goes is counted, and the length is what is left."""
    evictions: Counter[str] = Counter()
    orders = Orders(2, evictions)
    for number in range(5):
        orders.update(make_order(f"o-{number}"))

    assert (len(orders), evictions) == (2, {"orders": 3})


def test_an_order_does_not_grow_for_ever() -> None:
    """A feed that invents a field with every update keeps the known and the newest ones."""
    orders = make_orders()
    for number in range(2 * MAX_KEPT_FIELDS):
        orders.update(make_order() | {f"f{number}": number})

    kept = listed(orders)[0]

    assert len(kept) == MAX_KEPT_FIELDS
    assert kept.items() >= (make_order() | {f"f{number}": number}).items()


def test_fields_of_the_newest_update_are_all_kept() -> None:
    """What one message says is stored whole, even an old field that it gives again."""
    orders = make_orders()
    many = {f"f{number}": number for number in range(MAX_KEPT_FIELDS)}
    orders.update(make_order() | many)

    orders.update(make_order(f0=1, new=2))

    assert listed(orders)[0].items() >= make_order(f0=1, new=2).items()
