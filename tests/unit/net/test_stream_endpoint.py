"""Tests of `sseserver.net.stream_endpoint`."""

import json
from typing import Any

import pytest
import structlog

from sseserver.errors import RequestError
from sseserver.event_id import SUFFIX_SPAN, format_event_id
from sseserver.hub.subscription import StreamRequest
from sseserver.net.exchange import Response, StreamOpening
from sseserver.net.stream_endpoint import stream_of
from sseserver.state.sessions import session_key
from sseserver.wire.http_message import parse_target
from tests.support.core import configured
from tests.support.reference_eventsource import Dispatched, ReferenceEventSource
from tests.unit.net.site import Site, events, parsed

PRICES = "/api/stream/prices"
EVENT_SOURCE = "\nAccept: text/event-stream"
SESSION = "\nCookie: session=s-1"


def ask(
    site: Site, target: str, fields: str = "", *, peer: str = "127.0.0.1", draining: bool = False
) -> StreamOpening | Response | RequestError:
    """Return what a request for a stream gets."""
    request = parsed(f"GET {target}{fields}", peer)
    stream = stream_of(request.target.segments)
    assert stream is not None
    try:
        return site.streams.answer(request, stream, is_draining=draining)
    except RequestError as error:
        return error


def opened(site: Site, target: str, fields: str = "") -> StreamRequest:
    """Return the request of a stream that opens."""
    answer = ask(site, target, fields)
    assert isinstance(answer, StreamOpening), answer
    return answer.request


def status(site: Site, target: str, fields: str = "", peer: str = "127.0.0.1") -> int:
    """Return the status that a request gets."""
    answer = ask(site, target, fields, peer=peer)
    return 200 if isinstance(answer, StreamOpening) else answer.status


def site_with(**settings: Any) -> Site:
    """Return a site with a user's session and strategy."""
    site = Site({key.replace("__", "."): value for key, value in settings.items()})
    site.session("s-1", "user-1")
    site.strategies.put("str-1", "user-1")
    return site


@pytest.mark.parametrize(
    ("path", "stream"),
    [
        ("/api/stream/orders", "orders"),
        ("/api/stream/positions", "positions"),
        ("/api/stream/prices", "prices"),
        ("/api/stream/trading", "trading"),
        ("/api/stream/ai-decisions", "ai-decisions"),
        ("/api/stream/alerts", "alerts"),
        ("/api/stream/strategies/s%201", "strategies/s 1"),
        ("/api/stream/strategies/a%2Fb", "strategies/a/b"),
        ("/api/stream/strategies/%2f", "strategies//"),
        ("/api/stream/strategies/%2e%2e", "strategies/.."),
        ("/api/stream/strategies/..", "strategies/.."),
        ("/api/stream/strategies", None),
        ("/api/stream/strategies/", None),
        ("/api/stream/strategies/a/b", None),
        ("/api/stream/strategies%2Fa", None),
        ("/api/stream/strategies/../orders", None),
        ("/api/stream%2Fprices", None),
        ("/api%2Fstream%2Fprices", None),
        ("/%2Fapi/stream/prices", None),
        ("/api/stream/prices/", None),
        ("/api/./stream/prices", None),
        ("/api/stream/metrics", None),
        ("/api/stream/ORDERS", None),
        ("/api/stream/", None),
        ("/orders", None),
        ("*", None),
    ],
)
def test_a_path_names_a_stream(path: str, stream: str | None) -> None:
    """Seven of them, exactly as the specification has them; escapes move no bounds."""
    assert stream == stream_of(parse_target(path.encode()).segments)


def test_any_name_of_a_strategy_opens_its_stream() -> None:
    """A strategy whose ID holds slashes or is `..` can be followed like any other."""
    site = site_with()
    names = {"a/b": "a%2Fb", "/": "%2F", "..": "%2e%2e", "50% x": "50%25%20x", "%2F": "%252F"}
    for name in names:
        site.strategies.put(name, "user-1")
    found = {
        name: opened(site, f"/api/stream/strategies/{escaped}", SESSION).routes
        for name, escaped in names.items()
    }

    assert {name: frozenset({f"strategies/{name}"}) for name in names} == found
    assert 404 == status(site, "/api/stream/strategies/b%2Fa", SESSION)


@pytest.mark.parametrize(
    ("target", "routes"),
    [
        ("/api/stream/orders", {"orders"}),
        ("/api/stream/positions", {"positions"}),
        ("/api/stream/trading?userId=user-1", {"orders", "positions"}),
        ("/api/stream/ai-decisions", {"ai-decisions"}),
        ("/api/stream/strategies/str-1", {"strategies/str-1"}),
        ("/api/stream/alerts", {"alerts"}),
    ],
)
def test_a_private_stream_opens(target: str, routes: set[str]) -> None:
    """What it carries, for whom, and under which session."""
    expected = StreamRequest(
        stream=target.removeprefix("/api/stream/").partition("?")[0],
        routes=frozenset(routes),
        user_id="user-1",
        symbols=None,
        encoding="identity",
        is_chunked=True,
        is_counted=True,
        session_key=session_key("s-1"),
        last_event_id=None,
        wants_replay=True,
        correlation_id="c-1",
    )

    assert expected == opened(site_with(), target, SESSION)


def test_a_stream_that_was_not_authenticated_does_not_count() -> None:
    """Open trading names its user, and neither counts nor ends with a session."""
    request = opened(Site(), "/api/stream/trading?userId=user-1")

    assert ("user-1", False, None) == (request.user_id, request.is_counted, request.session_key)


@pytest.mark.parametrize(
    ("query", "symbols"),
    [
        ("", None),
        ("?other=AAPL", None),
        ("?symbols=", frozenset()),
        ("?symbols=,,", frozenset()),
        ("?symbols=AAPL,GOOGL", frozenset({"AAPL", "GOOGL"})),
        ("?symbols=GOOGL&symbols=AAPL,%20AAPL", frozenset({"AAPL", "GOOGL"})),
        ("?symbols=BRK%20B", frozenset({"BRK B"})),
        ("?symbols=aapl", frozenset({"aapl"})),
    ],
)
def test_symbols(query: str, symbols: frozenset[str] | None) -> None:
    """None for all; an empty list is none; order and repetition do not matter."""
    request = opened(Site(), f"{PRICES}{query}")

    assert (symbols, None, False) == (request.symbols, request.user_id, request.is_counted)


def test_symbols_are_bounded() -> None:
    """400 for more than `max_symbols`, and for what can be no symbol's name."""
    site = site_with(limits__max_symbols=2)

    assert 200 == status(site, f"{PRICES}?symbols=A,B,A")
    assert 400 == status(site, f"{PRICES}?symbols=A,B,C")
    assert 400 == status(site, f"{PRICES}?symbols=A%00")
    assert 400 == status(site, f"{PRICES}?symbols=A%0A")
    assert 400 == status(site, f"{PRICES}?symbols={'A' * 129}")
    assert None is opened(site, "/api/stream/alerts?symbols=A,B,C", SESSION).symbols


@pytest.mark.parametrize(
    ("target", "accepted", "encoding"),
    [
        (PRICES, "gzip, zstd", "zstd"),
        (PRICES, "gzip", "gzip"),
        (PRICES, "gzip, zstd;q=0.5", "gzip"),
        (f"{PRICES}?symbols=A", "gzip, zstd", "gzip"),
        ("/api/stream/trading?userId=u", "zstd, gzip", "gzip"),
        ("/api/stream/trading?userId=u", "zstd", "zstd"),
        ("/api/stream/trading?userId=u", "br", "identity"),
    ],
)
def test_the_coding_that_serves_the_stream_best(target: str, accepted: str, encoding: str) -> None:
    """Of those a client accepts alike: zstd for unfiltered prices, gzip for all else."""
    answer = ask(Site(), target, f"\nAccept-Encoding: {accepted}")

    assert isinstance(answer, StreamOpening)
    assert encoding == answer.request.encoding
    assert (b"Content-Encoding" in answer.head) == (encoding != "identity")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("\nAccept: application/json", 406),
        ("\nAccept: text/event-stream;q=0", 406),
        ("\nAccept: text/html\nAccept: text/*", 200),
        ("\nAccept: */*;q=0.1", 200),
        ("\nAccept-Encoding: identity;q=0", 406),
        ("\nAccept-Encoding: br, *;q=0", 406),
        ("\nAccept-Encoding: gzip, *;q=0", 200),
    ],
)
def test_what_a_client_cannot_read_is_not_sent(fields: str, expected: int) -> None:
    """406 when `Accept` excludes event streams, or `Accept-Encoding` every coding."""
    assert expected == status(Site(), PRICES, fields)


def test_order_of_checks() -> None:
    """401 before strategy 404, 404 before 400, 400 before 406, 406 before max connections."""
    site = site_with(limits__max_symbols=1)
    bad = "\nAccept: text/html"

    assert 401 == status(site, "/api/stream/strategies/none", bad)
    assert 404 == status(site, "/api/stream/strategies/none", f"{SESSION}{bad}")
    assert 400 == status(site, f"{PRICES}?symbols=A,B", bad)
    assert 400 == status(site, "/api/stream/trading", bad)
    full = site_with(server__max_connections=1)
    full.connections.streams.add(object())
    assert 406 == status(full, PRICES, bad)
    assert 503 == status(full, PRICES)


ID = "1735819800000-abc123def"
LATER = "1735819800000-abc123deg"


@pytest.mark.parametrize(
    ("query", "fields", "expected"),
    [
        ("", "", None),
        (f"?lastEventId={ID}", "", ID),
        ("", f"\nLast-Event-ID: {ID}", ID),
        (f"?lastEventId={LATER}", f"\nLast-Event-ID: {ID}", LATER),
        (f"?lastEventId={ID}", f"\nLast-Event-ID: {LATER}", LATER),
        (f"?lastEventId={ID}&lastEventId={LATER}", "", LATER),
        (f"?lastEventId={ID}", "\nLast-Event-ID: truncat", ID),
        ("?lastEventId=%zz%ff", "", None),
        ("?lastEventId=", "\nLast-Event-ID:", None),
    ],
)
def test_the_later_of_the_last_event_ids_counts(
    query: str, fields: str, expected: str | None
) -> None:
    """From header and query; what is not in the format is never an error."""
    found = opened(site_with(), f"/api/stream/alerts{query}", f"{SESSION}{fields}").last_event_id

    assert expected == (None if found is None else format_event_id(found))


@pytest.mark.parametrize("named", ["99999999999999999-zzzzzzzzz", f"{'9' * 128}-abc123def"])
def test_an_id_of_the_far_future_is_a_gap(named: str) -> None:
    """However many digits: it is in the format, was never given out, and moves no clock."""
    site = site_with()
    before = site.hub.ids.last
    source = events(site.ask(f"GET /api/stream/alerts?lastEventId={named}{SESSION}"))

    assert ["connected", "stream:gap"] == [event.type for event in source.events]
    gap = json.loads(source.events[1].data)
    assert {"lastEventId": named, "reason": "unknown"} == gap
    assert before <= site.hub.ids.last < before + 10_000 * SUFFIX_SPAN


def test_a_malformed_last_event_id_is_logged_once() -> None:
    """However many a client names, it is one line, and never repeats what may be a secret."""
    named = "&".join(f"lastEventId={'x' * 200}" for _ in range(30))
    with structlog.testing.capture_logs() as logs:
        opened(Site(), f"{PRICES}?lastEventId=&{named}")

    assert [
        {
            "event": "malformed_last_event_id",
            "characters": 200,
            "correlation_id": "c-1",
            "log_level": "info",
        }
    ] == logs


def test_replay_can_be_declined() -> None:
    """`?replay=0`, and nothing else, declines what is buffered."""
    site = site_with()

    assert [False, True, True] == [
        opened(site, f"/api/stream/alerts?{query}", SESSION).wants_replay
        for query in ("replay=0", "replay=1", "replay")
    ]


@pytest.mark.parametrize(
    ("fields", "connection", "is_chunked"),
    [
        ("", "keep-alive", True),
        ("\nConnection: keep-alive", "keep-alive", True),
        ("\nConnection: TE, Close", "close", True),
        (" HTTP/1.0", "close", False),
        (" HTTP/1.0\nConnection: keep-alive", "close", False),
    ],
)
def test_the_head_of_a_stream(fields: str, connection: str, is_chunked: bool) -> None:
    """Headers of the specification; HTTP/1.0 is not chunked, and closed at the end."""
    answer = ask(Site(), PRICES, fields)
    assert isinstance(answer, StreamOpening)
    chunking = "Transfer-Encoding: chunked\r\n" if is_chunked else ""

    assert is_chunked == answer.request.is_chunked
    assert (
        "HTTP/1.1 200 OK\r\n"
        "Date: Thu, 02 Jan 2025 12:10:00 GMT\r\n"
        "Content-Type: text/event-stream\r\n"
        "Cache-Control: no-cache\r\n"
        f"Connection: {connection}\r\n"
        "X-Accel-Buffering: no\r\n"
        "Access-Control-Allow-Origin: *\r\n"
        "Access-Control-Allow-Methods: GET, OPTIONS\r\n"
        "Access-Control-Allow-Headers: Content-Type, Authorization\r\n"
        "Access-Control-Expose-Headers: X-Correlation-ID\r\n"
        "Vary: Accept-Encoding\r\n"
        "X-Correlation-ID: c-1\r\n"
        f"{chunking}\r\n"
    ) == answer.head.decode()


def test_attempts_are_limited() -> None:
    """Five a minute; the sixth is told how long to wait, and gets in after that."""
    site = site_with(limits__attempts_per_minute_per_ip=5)
    outcomes = [status(site, PRICES) for _ in range(5)]
    site.clock.advance(20)
    refused = ask(site, PRICES)
    site.clock.advance(40)

    assert [200] * 5 == outcomes
    assert isinstance(refused, RequestError)
    assert (429, (("Retry-After", "40"),)) == (refused.status, refused.headers)
    assert 200 == status(site, PRICES)


@pytest.mark.parametrize(
    ("target", "fields", "expected"),
    [
        (PRICES, "", 200),
        ("/api/stream/orders", "", 401),
        ("/api/stream/strategies/none", SESSION, 404),
        ("/api/stream/trading", "", 400),
        ("/api/stream/trading?userId=u", "\nHost: evil.example", 403),
        (PRICES, "\nAccept: text/html", 406),
    ],
)
def test_attempts_count_whatever_their_outcome(target: str, fields: str, expected: int) -> None:
    """Openings and errors use up the attempts of an address alike."""
    site = site_with(limits__attempts_per_minute_per_ip=1)

    assert expected == status(site, target, fields)
    assert 429 == status(site, PRICES)


def test_refusals_do_not_count() -> None:
    """Otherwise an office behind one address would never get back in."""
    site = site_with(limits__attempts_per_minute_per_ip=1, server__max_connections=1)
    ask(site, PRICES, draining=True)
    site.connections.streams.add(busy := object())
    assert 503 == status(site, PRICES)
    site.connections.streams.discard(busy)
    assert 200 == status(site, PRICES)
    for _ in range(9):
        site.clock.advance(6)
        assert 429 == status(site, PRICES)
    site.clock.advance(6)

    assert 200 == status(site, PRICES)


def test_addresses_have_attempts_of_their_own() -> None:
    """IPv4 by address, IPv6 by /64, exempt networks not at all."""
    site = site_with(limits__attempts_per_minute_per_ip=1, limits__exempt_networks=["10.0.0.0/8"])
    peers = ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1", "::ffff:192.0.2.3")

    assert [200] * 5 == [status(site, PRICES, peer=peer) for peer in peers]
    assert [429] * 5 == [status(site, PRICES, peer=peer) for peer in peers]
    assert 429 == status(site, PRICES, peer="2001:db8::ffff:0:2")
    assert 429 == status(site, PRICES, peer="192.0.2.3")
    assert [200] * 3 == [status(site, PRICES, peer="10.1.2.3") for _ in range(3)]
    assert [401] * 3 == [status(site, "/api/stream/orders", peer="10.1.2.3") for _ in range(3)]


def test_the_address_behind_trusted_proxies_counts() -> None:
    """The rightmost address that is not a trusted proxy's; what others write is not believed."""
    site = site_with(limits__attempts_per_minute_per_ip=1, server__trusted_proxies=["127.0.0.0/8"])
    via = "\nX-Forwarded-For: "

    assert 200 == status(site, PRICES, f"{via}192.0.2.1")
    assert 200 == status(site, PRICES, f"{via}192.0.2.1, 192.0.2.2")
    assert 429 == status(site, PRICES, f"{via}203.0.113.9, 192.0.2.2, 127.0.0.2")
    assert 200 == status(site, PRICES, f"{via}192.0.2.7", peer="198.51.100.1")
    assert 429 == status(site, PRICES, f"{via}192.0.2.8", peer="198.51.100.1")


def refusal(
    settings: dict[str, Any], *, draining: bool = False, is_full: bool = False
) -> tuple[Response, Dispatched]:
    """Return the answer to an EventSource that is refused for now, and the event in it."""
    site = site_with(**settings)
    if is_full:
        site.connections.streams.add(object())
    elif not draining:
        ask(site, PRICES)
        site.clock.advance(20)
    answer = ask(site, PRICES, EVENT_SOURCE, draining=draining)
    assert isinstance(answer, Response)
    source = ReferenceEventSource()
    (event,) = source.feed(answer.body)
    return answer, event


@pytest.mark.parametrize(
    ("reason", "wait_ms", "settings", "state"),
    [
        ("attempt_limit", 40_000, {"limits__attempts_per_minute_per_ip": 1}, {}),
        ("draining", 2_000, {}, {"draining": True}),
        ("max_connections", 5_000, {"server__max_connections": 1}, {"is_full": True}),
    ],
)
def test_an_event_source_is_refused_so_that_it_comes_back(
    reason: str, wait_ms: int, settings: dict[str, Any], state: dict[str, bool]
) -> None:
    """200, one event without an ID, a `retry:` of 1 to 2 times the wait, and the end."""
    found = [refusal(settings, **state) for _ in range(20)]
    waits = [event.retry_ms for _, event in found]

    for answer, event in found:
        assert (200, True) == (answer.status, answer.closes)
        assert ("Content-Type", "text/event-stream") in answer.headers
        assert ("connection:refused", "") == (event.type, event.last_event_id)
        timestamp = "2025-01-02T12:10:20.000Z" if wait_ms == 40_000 else "2025-01-02T12:10:00.000Z"
        assert (
            f'{{"reason":"{reason}","retryAfterMs":{event.retry_ms},"timestamp":"{timestamp}"}}'
            == event.data
        )
        assert event.retry_ms is not None
        assert wait_ms <= event.retry_ms <= 2 * wait_ms
    assert 10 < len(set(waits))


def test_other_clients_are_told_by_status() -> None:
    """Only `Accept: text/event-stream`, exactly, is an EventSource; refusals are counted."""
    site = site_with(server__max_connections=1)
    site.connections.streams.add(object())
    accepted = ("text/event-stream, */*", "*/*", "text/event-stream;q=0.9")
    refused = [ask(site, PRICES, f"\nAccept: {accept}") for accept in accepted]
    soft = ask(site, PRICES, "\nAccept:  Text/Event-Stream ")

    for error in refused:
        assert isinstance(error, RequestError)
        assert (503, (("Retry-After", "5"),)) == (error.status, error.headers)
    assert isinstance(soft, Response)
    assert 200 == soft.status
    assert 4 == site.hub.counters.refused_streams


def test_the_tab_that_the_limit_closed_is_sent_away() -> None:
    """204 to exactly the ID of its farewell while the user is at the limit; else it opens."""
    site = site_with(limits__connections_per_user=1, limits__attempts_per_minute_per_ip=9)
    first, second = site.connect(), site.connect()
    for transport in (first, second):
        transport.receive(parsed_bytes("/api/stream/alerts", SESSION))
    last_id = ReferenceEventSource()
    last_id.feed(bytes(first.sent).replace(b"\r\n", b"\n"))
    target = f"/api/stream/alerts?lastEventId={last_id.last_event_id}"
    gone = ask(site, target, SESSION)
    other = ask(site, f"/api/stream/alerts?lastEventId={ID}", SESSION)
    second.lose()

    assert Response(204, (("Cache-Control", "no-store"),), b"") == gone
    assert isinstance(other, StreamOpening)
    assert isinstance(ask(site, target, SESSION), StreamOpening)


def parsed_bytes(target: str, fields: str) -> bytes:
    """Return a GET as bytes."""
    lines = fields.strip().replace("\n", "\r\n")
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n".encode()


def test_configuration_is_taken_over() -> None:
    """A reload reaches symbols, codings, access and the attempt limit."""
    site = site_with()
    config = configured(
        {
            "limits.max_symbols": 1,
            "limits.attempts_per_minute_per_ip": 3,
            "compression.encodings": [],
            "auth.trading": "session",
        }
    )
    site.streams.configure(config)

    assert 400 == status(site, f"{PRICES}?symbols=A,B")
    assert 401 == status(site, "/api/stream/trading?userId=user-1")
    assert "identity" == opened(site, PRICES, "\nAccept-Encoding: gzip").encoding
    assert 429 == status(site, PRICES)
