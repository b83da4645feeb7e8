"""Quotes and the clients that watch them."""

import json
from collections import Counter

import pytest

from bench.load import MOMENT
from bench.quotes import MARK, ROUNDS, quote_lines, watch_lists, watching
from sseserver.ingest import messages
from sseserver.ingest.messages import PublishPriceUpdate


@pytest.mark.parametrize("moment", ["0" * 19 + "1", "9" * 20])
def test_a_quote_is_a_line_of_known_fields(moment: str) -> None:
    """The time stands in a field that the server knows, whatever the clock says."""
    line = quote_lines(1)[0].replace(MOMENT.encode(), moment.encode())

    message = messages.decode(line.strip())

    assert isinstance(message, PublishPriceUpdate)
    assert None is message.extra
    assert f"0.{moment}" == message.data.volume
    assert MARK in line.decode()


def test_quotes_come_in_turn_and_move() -> None:
    """Each round has every symbol once, at a price that it had in no round before."""
    data = [json.loads(line)["data"] for line in quote_lines(3)]

    assert ["S000", "S001", "S002"] * ROUNDS == [quote["symbol"] for quote in data]
    assert 3 * ROUNDS == len({(quote["symbol"], quote["price"]) for quote in data})


@pytest.mark.parametrize(("symbols", "size", "in_lists"), [(500, 20, 2), (100, 12, 6)])
def test_watch_lists_differ_and_load_symbols_alike(symbols: int, size: int, in_lists: int) -> None:
    """Fifty lists are fifty different sets, and each symbol stands in as many of them."""
    lists = watch_lists(symbols, 50, size)

    assert 50 == len({frozenset(names) for names in lists})
    assert {size} == {len(set(names)) for names in lists}
    assert {in_lists} == set(Counter(name for names in lists for name in names).values())


def test_clients_are_dealt_out_to_the_lists() -> None:
    """Client 0 watches the first list, client 1 the second, and so on in turn."""
    first, second, third = watching([["S000", "S001"], ["S002"]], 3)

    assert b"GET /api/stream/prices?symbols=S000,S001 HTTP/1.1\r\n" in first
    assert b"GET /api/stream/prices?symbols=S002 HTTP/1.1\r\n" in second
    assert first == third
