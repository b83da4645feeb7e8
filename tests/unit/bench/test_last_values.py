"""The look at what clients have in the end, against the real server."""

from bench.last_values import feed_and_look
from bench.load import MOMENT
from bench.quotes import names, quote_line, watch_lists, watching
from bench.sseserver import measured_server

LISTS = watch_lists(20, 4, 5)
QUOTES = [quote_line(symbol, price) for price in (1.0, 2.0, 3.0) for symbol in names(20)]


def test_every_client_has_the_last_values() -> None:
    """Nothing is missing when all quotes are good."""
    lines = [line.replace(MOMENT.encode(), b"5") for line in QUOTES]

    with measured_server() as server:
        found = feed_and_look(server, lines, watching(LISTS, 8), LISTS)

    assert ("", 0) == (found.refusal, found.missing)


def test_a_last_value_that_did_not_arrive_is_missing() -> None:
    """A last quote that the server refuses is missing at each client that watches its symbol."""
    lines = [line.replace(MOMENT.encode(), b"5") for line in QUOTES[:-1]] + [QUOTES[-1]]

    with measured_server() as server:
        found = feed_and_look(server, lines, watching(LISTS, 8), LISTS)

    assert "plain decimal number" in found.refusal
    assert sum("S019" in symbols for symbols in LISTS) * 2 == found.missing
