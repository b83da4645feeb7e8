"""Watched users by what they hold: `sseserver.state.watches`."""

import pytest

from sseserver.state.watches import Watches


def move(watches: Watches, *symbols: str) -> list[str]:
    """Note that prices moved, as `Projection.set_price` does, and return whom it concerns."""
    for symbol in symbols:
        if symbol in watches.holders:
            watches.moved[symbol] = None
    return watches.take_moved_users()


def test_a_watched_user_is_found_by_symbol() -> None:
    """Who is watched and holds what moved is found."""
    watches = Watches()
    watches.add("u-1", {"AAPL", "MSFT"})
    watches.add("u-2", {"MSFT"})

    assert move(watches, "AAPL") == ["u-1"]
    assert move(watches, "MSFT") == ["u-1", "u-2"]


def test_users_are_named_once_in_the_order_of_moves() -> None:
    """A user who holds two symbols that moved is named once, by the first of them."""
    watches = Watches()
    watches.add("u-1", {"AAPL", "MSFT"})
    watches.add("u-2", {"MSFT"})

    assert move(watches, "MSFT", "AAPL", "MSFT") == ["u-1", "u-2"]


def test_taking_clears() -> None:
    """What was taken is not named again."""
    watches = Watches()
    watches.add("u-1", {"AAPL"})
    move(watches, "AAPL")

    assert watches.take_moved_users() == []


def test_whoever_is_not_watched_is_not_indexed() -> None:
    """The holdings of a user whom nobody watches are passed over."""
    watches = Watches()

    watches.index("u-1", {"AAPL"})

    assert watches.holders == {}
    assert "u-1" not in watches


def test_the_index_follows_holdings() -> None:
    """A symbol sold is left, a symbol bought is entered, one kept stays."""
    watches = Watches()
    watches.add("u-1", {"AAPL", "MSFT"})
    watches.add("u-2", {"AAPL"})

    watches.index("u-1", {"MSFT", "TSLA"})

    assert watches.holders == {"AAPL": {"u-2": None}, "MSFT": {"u-1": None}, "TSLA": {"u-1": None}}


def test_the_index_takes_views_of_dictionaries() -> None:
    """Holdings may be given as the keys of a dictionary, which goes on changing."""
    watches = Watches()
    held = {"AAPL": 1}
    watches.add("u-1", held.keys())

    held["MSFT"] = 2
    watches.index("u-1", held.keys())

    assert sorted(watches.holders) == ["AAPL", "MSFT"]


def test_watches_are_counted() -> None:
    """A user is watched until every stream is gone, and then leaves no trace."""
    watches = Watches()
    watches.add("u-1", {"AAPL"})
    watches.add("u-1", {"AAPL"})

    watches.remove("u-1")
    assert "u-1" in watches
    assert move(watches, "AAPL") == ["u-1"]

    watches.remove("u-1")
    assert "u-1" not in watches
    assert watches.holders == {}


def test_whoever_left_after_the_move_is_not_named() -> None:
    """A user who is not watched any more when the window ends is not re-valued."""
    watches = Watches()
    watches.add("u-1", {"AAPL"})
    watches.moved["AAPL"] = None

    watches.remove("u-1")

    assert watches.take_moved_users() == []


def test_removing_what_was_not_added_is_a_bug() -> None:
    """Watches that do not match their removal are not covered up."""
    with pytest.raises(KeyError):
        Watches().remove("u-1")
