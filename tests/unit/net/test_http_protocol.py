"""Tests of `sseserver.net.http_protocol`: bytes in, bytes out, timers fired by hand."""

import asyncio

import pytest

from sseserver.net.http_protocol import (
    FIRST_REQUEST_SECONDS,
    MAX_REQUESTS_PER_TURN,
    HttpProtocol,
)
from tests.unit.net.site import Site, answers, events, only, request

HEALTH = request("GET /healthz")


def test_a_request_is_answered_and_the_connection_kept() -> None:
    """HTTP/1.1 keeps the connection: the next request is answered on it too."""
    transport = Site().connect()
    transport.receive(HEALTH)
    first = only(transport.take_sent())
    transport.receive(HEALTH)
    second = only(transport.take_sent())

    assert (200, {"status": "ok"}) == (first.status, first.json())
    assert (200, {"status": "ok"}) == (second.status, second.json())
    assert transport.is_open
    assert not transport.has_eof


def test_every_answer_has_its_date() -> None:
    """`Date` is the server's wall clock, on JSON and on streams."""
    site = Site()

    date = "Thu, 02 Jan 2025 12:10:00 GMT"

    assert date == site.ask("GET /healthz").headers["date"]
    assert date == site.ask("GET /api/stream/prices").headers["date"]


@pytest.mark.parametrize(
    "head",
    [
        "GET /healthz HTTP/1.0",
        "GET /healthz HTTP/1.0\nConnection: keep-alive",
        "GET /healthz\nConnection: close",
        "GET /healthz\nConnection: x, Close",
    ],
)
def test_the_connection_ends_where_the_client_wants_it(head: str) -> None:
    """HTTP/1.0 and `Connection: close` get their answer, then our side is closed."""
    transport = Site().connect()
    transport.receive(request(head) + HEALTH)
    answer = only(transport.take_sent())

    assert (200, "close") == (answer.status, answer.headers["connection"])
    assert transport.has_eof


def test_head_gets_the_head_of_a_get() -> None:
    """HEAD is answered with the length that GET would have, and no body."""
    transport = Site().connect()
    named = "/healthz\nX-Correlation-ID: c-1"
    transport.receive(request(f"HEAD {named}") + request(f"GET {named}"))
    head, get = answers(transport.take_sent(), methods="HG")

    assert (get.status, get.headers, b"") == (head.status, head.headers, head.body)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("HEAD /%zz", 400),
        ("HEAD /nowhere", 404),
        ("HEAD /api/stream/prices", 405),
        ("HEAD /api/stream/test", 405),
    ],
)
def test_an_error_to_head_has_no_body(head: str, status: int) -> None:
    """Whatever refuses a HEAD, its answer ends with its head, and the next one is read right."""
    transport = Site().connect()
    transport.receive(request(head) + HEALTH)
    refused, next_one = answers(transport.take_sent(), methods="HG")

    assert (status, b"") == (refused.status, refused.body)
    assert "0" != refused.headers["content-length"]
    assert 200 == next_one.status


def test_204_has_no_length() -> None:
    """A 204 carries no `Content-Length` (RFC 9110 section 8.6) and keeps the connection."""
    site = Site({"limits.connections_per_user": 1})
    site.session("s-1", "user-1")
    stream = "GET /api/stream/alerts\nCookie: session=s-1"
    evicted = site.connect()
    evicted.receive(request(stream))
    site.connect().receive(request(stream))
    last_event_id = events(only(evicted.take_sent())).last_event_id
    transport = site.connect()
    transport.receive(request(f"{stream}\nLast-Event-ID: {last_event_id}") + HEALTH)
    gone, healthy = answers(transport.take_sent())

    assert (204, b"") == (gone.status, gone.body)
    assert "content-length" not in gone.headers
    assert "no-store" == gone.headers["cache-control"]
    assert 200 == healthy.status


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("GET /healthz", b"HTTP/1.1 200 OK\r\n"),
        ("GET /healthz HTTP/1.0", b"HTTP/1.1 200 OK\r\n"),
        ("GET /nowhere", b"HTTP/1.1 404 Not Found\r\n"),
        ("POST /\nContent-Length: 99999", b"HTTP/1.1 413 Content Too Large\r\n"),
    ],
)
def test_the_status_line_has_its_phrase(head: str, line: bytes) -> None:
    """People read it, in their terminals and logs."""
    transport = Site().connect()
    transport.receive(request(head))

    assert line == transport.sent[: len(line)]


def test_pipelined_requests_are_answered_in_order() -> None:
    """Requests that come at once are answered in their order, errors between them too."""
    transport = Site().connect()
    transport.receive(HEALTH + request("GET /nowhere") + request("GET /%zz") + HEALTH)

    assert [200, 404, 400, 200] == [one.status for one in answers(transport.take_sent())]
    assert transport.is_open


async def test_a_turn_of_the_loop_answers_a_bounded_number() -> None:
    """Past the bound reading is paused and the rest waits for the next turn; all is answered."""
    transport = Site().connect()
    transport.receive(HEALTH * (2 * MAX_REQUESTS_PER_TURN + 1))
    counts, reading = [len(answers(transport.take_sent()))], [transport.is_reading()]
    for _ in range(3):
        await asyncio.sleep(0)
        counts.append(len(answers(transport.take_sent())))
        reading.append(transport.is_reading())

    assert [MAX_REQUESTS_PER_TURN, MAX_REQUESTS_PER_TURN, 1, 0] == counts
    assert [False, False, True, True] == reading


async def test_a_lost_connection_is_not_gone_on_with() -> None:
    """What waits for the next turn is forgotten when the connection is lost before."""
    site = Site()
    transport = site.connect()
    transport.receive(HEALTH * (MAX_REQUESTS_PER_TURN + 1))
    transport.lose()
    await asyncio.sleep(0)

    assert MAX_REQUESTS_PER_TURN == len(answers(transport.take_sent()))
    assert (0, 0) == (len(site.connections.http), len(site.core.wheel))


def test_answers_wait_for_a_peer_that_does_not_take_them() -> None:
    """Past the high-water mark nothing is read or answered; when it has drained, all is."""
    transport = Site().connect()
    transport.takes_all = False
    transport.set_write_buffer_limits(high=1, low=0)
    transport.receive(HEALTH * 3)
    waiting = transport.get_write_buffer_size()

    assert not transport.is_reading()
    transport.takes_all = True
    assert 3 == len(answers(transport.take()))
    assert waiting * 3 == len(transport.sent)
    assert transport.is_reading()


async def test_a_pause_outlasts_the_turn_of_the_loop() -> None:
    """The next turn does not go on with requests while their answers are not taken."""
    transport = Site().connect()
    transport.takes_all = False
    size = len(Site().ask("GET /healthz").body)
    transport.set_write_buffer_limits(high=1_000_000, low=0)
    transport.receive(HEALTH * (MAX_REQUESTS_PER_TURN + 1))
    written = transport.get_write_buffer_size()
    transport.set_write_buffer_limits(high=size, low=0)
    protocol = transport.get_protocol()
    assert isinstance(protocol, HttpProtocol)
    protocol.pause_writing()
    await asyncio.sleep(0)

    assert written == transport.get_write_buffer_size()
    assert not transport.is_reading()


def test_a_peer_that_takes_no_answers_is_cut_off() -> None:
    """Answers not taken for the idle time end the connection, and no 408 is added to them."""
    site = Site({"server.http_idle_seconds": 20, "server.header_timeout_seconds": 5})
    transport = site.connect()
    transport.takes_all = False
    transport.set_write_buffer_limits(high=1, low=0)
    site.pass_time(15)
    transport.receive(HEALTH * 2)
    site.pass_time(19)

    assert transport.is_open
    site.pass_time(1.1)
    assert transport.is_aborted
    assert 0 == len(site.connections.http)


def test_time_in_which_nothing_was_read_does_not_count() -> None:
    """A request that had to wait for its peer to take answers gets its full time after that."""
    site = Site({"server.header_timeout_seconds": 5})
    transport = site.connect()
    transport.takes_all = False
    transport.set_write_buffer_limits(high=1, low=0)
    transport.receive(HEALTH + HEALTH[:10])
    site.pass_time(20)
    transport.takes_all = True
    transport.take()
    site.pass_time(4)
    transport.receive(HEALTH[10:])

    assert [200, 200] == [one.status for one in answers(transport.take_sent())]


def test_a_drained_peer_without_a_request_stays_connected() -> None:
    """After a pause with nothing more to answer, the connection is idle as before."""
    site = Site({"server.http_idle_seconds": 20})
    transport = site.connect()
    transport.takes_all = False
    transport.set_write_buffer_limits(high=1, low=0)
    transport.receive(HEALTH)
    transport.take()
    site.pass_time(19)

    assert transport.is_open
    site.pass_time(1.1)
    assert transport.has_eof


@pytest.mark.parametrize(
    ("sent", "correlation_id"),
    [
        (b"G", None),
        (HEALTH[:-1], None),
        (
            request("POST /api/stream/test\nContent-Length: 2\nX-Correlation-ID: c-7") + b"1",
            "c-7",
        ),
    ],
)
def test_a_request_that_takes_too_long_is_answered_408(
    sent: bytes, correlation_id: str | None
) -> None:
    """Head and body must be complete in time, counted from the first byte: 408 and close."""
    site = Site({"server.header_timeout_seconds": 5})
    transport = site.connect()
    site.pass_time(30)
    transport.receive(sent[:1])
    site.pass_time(3)
    if sent[1:]:
        transport.receive(sent[1:])
    site.pass_time(1.9)
    before = bytes(transport.sent)
    site.pass_time(0.2)
    answer = only(transport.take_sent())

    assert b"" == before
    assert (408, "close") == (answer.status, answer.headers["connection"])
    assert {
        "error": "Request Timeout",
        "message": "The request did not arrive in time",
        "statusCode": 408,
    } == answer.json()
    if correlation_id is not None:
        assert correlation_id == answer.headers["x-correlation-id"]
    assert transport.has_eof


def test_a_handshake_counts_for_the_first_request() -> None:
    """What TLS took is missing at the first head, and at no other."""
    site = Site({"server.header_timeout_seconds": 5})
    transport = site.connect(is_tls=True, handshake_seconds=4.0)
    transport.receive(request("GET /healthz"))
    transport.take_sent()
    transport.receive(b"GET")
    site.pass_time(4.5)
    second = transport.take_sent()
    late = site.connect(is_tls=True, handshake_seconds=4.0)
    site.pass_time(2)
    late.receive(b"GET")
    site.pass_time(1.5)

    assert b"" == second
    assert late.take_sent().startswith(b"HTTP/1.1 408 ")


def test_bytes_after_408_are_dropped() -> None:
    """A request that is completed after its 408 is not answered."""
    site = Site({"server.header_timeout_seconds": 5})
    transport = site.connect()
    transport.receive(HEALTH[:-1])
    site.pass_time(5.1)
    transport.receive(HEALTH[-1:] + HEALTH)

    assert 408 == only(transport.take_sent()).status


@pytest.mark.parametrize("requests", [0, 1])
def test_an_idle_connection_is_closed_without_a_word(requests: int) -> None:
    """With no request under way the connection ends after the idle time, new or used."""
    site = Site({"server.http_idle_seconds": 20})
    transport = site.connect()
    for _ in range(requests):
        transport.receive(HEALTH)
        transport.take_sent()
    site.pass_time(19.9)
    was_open = not transport.has_eof
    site.pass_time(0.2)

    assert was_open
    assert transport.has_eof
    assert b"" == transport.sent


def test_every_request_begins_the_idle_time_anew() -> None:
    """The time is counted from the last answer."""
    site = Site({"server.http_idle_seconds": 20})
    transport = site.connect()
    for _ in range(3):
        site.pass_time(15)
        transport.receive(HEALTH)

    assert 3 == len(answers(transport.take_sent()))
    assert not transport.has_eof


def test_a_peer_that_lingers_is_cut_off() -> None:
    """After our side is closed the peer has two seconds to close its own."""
    site = Site()
    transport = site.connect()
    transport.receive(request("GET /healthz\nConnection: close"))
    site.pass_time(1.9)
    was_open = transport.is_open
    site.pass_time(0.2)

    assert was_open
    assert transport.is_aborted


def test_an_end_resumes_reading() -> None:
    """A connection that ends while reading is paused still sees its peer close."""
    transport = Site().connect()
    transport.takes_all = False
    transport.set_write_buffer_limits(high=1, low=0)
    transport.receive(request("GET /healthz\nConnection: close"))

    assert transport.has_eof
    assert transport.is_reading()
    transport.receive_eof()
    assert not transport.is_open


def test_draining_after_the_end_changes_nothing() -> None:
    """The peer takes the rest after our side was closed: nothing more is read."""
    transport = Site().connect()
    transport.takes_all = False
    transport.set_write_buffer_limits(high=1, low=0)
    transport.receive(request("GET /healthz\nConnection: close") + HEALTH)

    assert 1 == len(answers(transport.take()))


def test_the_peer_closes() -> None:
    """A client that closes its side is gone, and nothing is kept of it."""
    site = Site()
    transport = site.connect()
    transport.receive(HEALTH[:-1])
    transport.receive_eof()
    transport.lose()

    assert not transport.is_open
    assert (0, 0) == (len(site.connections.http), len(site.core.wheel))


def test_over_tls_close_does_it_all() -> None:
    """TLS has no half-close: the transport is closed, which sends what is left."""
    transport = Site().connect(is_tls=True)
    transport.receive(request("GET /healthz\nConnection: close"))

    assert not transport.has_eof
    assert not transport.is_open
    assert not transport.is_aborted


def test_a_stream_takes_the_connection_over() -> None:
    """After the head of a stream no request is read on its connection; the roster says so."""
    site = Site()
    transport = site.connect()
    transport.receive(HEALTH + request("GET /api/stream/prices") + HEALTH)
    _, stream = answers(transport.take_sent())
    transport.receive(HEALTH)

    assert "text/event-stream" == stream.headers["content-type"]
    assert b"" == transport.sent
    assert (0, 1) == (len(site.connections.http), len(site.connections.streams))


def test_a_body_is_read_and_the_next_request_after_it() -> None:
    """Bodies of either framing belong to their request, of GET too."""
    transport = Site().connect()
    transport.receive(
        request("POST /api/stream/test\nContent-Length: 5")
        + b"GET /"
        + request("POST /api/stream/test\nTransfer-Encoding: chunked")
        + b"5;a=b\r\nGET /\r\n0\r\nA: b\r\n\r\n"
        + request("GET /healthz\nContent-Length: 5")
        + b"GET /"
        + HEALTH
    )

    assert [401, 401, 200, 200] == [one.status for one in answers(transport.take_sent())]


def test_a_client_that_asks_before_it_sends_a_body_is_told_to_go_on() -> None:
    """`Expect: 100-continue` is answered once, before the body, on HTTP/1.1 alone."""
    expecting = "POST /api/stream/test\nContent-Length: 2\nExpect: 100-continue"
    transport = Site().connect()
    transport.receive(request(expecting))
    asked = transport.take_sent()
    transport.receive(b"1")
    again = transport.take_sent()
    transport.receive(b"2")

    assert b"HTTP/1.1 100 Continue\r\n\r\n" == asked
    assert b"" == again
    assert 401 == only(transport.take_sent()).status


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request("POST /api/stream/test\nContent-Length: 1\nExpect: 100-continue") + b"1", 401),
        (request("GET /healthz\nExpect: 100-continue"), 200),
        (request("POST /api/stream/test\nContent-Length: 65537\nExpect: 100-continue"), 413),
    ],
)
def test_no_body_to_wait_for_no_100(sent: bytes, status: int) -> None:
    """A body that is there, absent or refused gets its final answer at once."""
    transport = Site().connect()
    transport.receive(sent)

    assert status == only(transport.take_sent()).status


def test_an_http_1_0_client_is_not_told_to_go_on() -> None:
    """HTTP/1.0 knows no 100 (RFC 9110 section 15.2)."""
    transport = Site().connect()
    transport.receive(
        request("POST /api/stream/test HTTP/1.0\nContent-Length: 1\nExpect: 100-continue")
    )

    assert b"" == transport.sent


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        request("POST /api/stream/test\nTransfer-Encoding: chunked") + b"x\r\n",
    ],
)
def test_a_framing_error_ends_the_connection(sent: bytes) -> None:
    """The byte stream cannot be trusted any more: 400, and what follows is not read."""
    transport = Site().connect()
    transport.receive(sent)
    transport.receive(HEALTH)
    answer = only(transport.take_sent())

    assert (400, "close") == (answer.status, answer.headers["connection"])
    assert transport.has_eof


def test_an_origin_is_told_why_its_request_was_refused() -> None:
    """What cannot be read as a request is refused with CORS headers as far as it was read."""
    site = Site({"cors.allow_origins": ["https://app.example"]})
    answer = site.ask("GET /%zz\nOrigin: https://app.example\nX-Correlation-ID: not valid")

    assert 400 == answer.status
    assert "https://app.example" == answer.headers["access-control-allow-origin"]
    assert "not valid" != answer.headers["x-correlation-id"]
    assert 16 == len(answer.headers["x-correlation-id"])


APP = b"Host: localhost\r\nOrigin: https://app.example\r\nX-Correlation-ID: c-1\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + APP + b"A : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA : b\r\n" + APP + b"\r\n", 400),
        (b"GET /\xe4 HTTP/1.1\r\n" + APP + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + APP + b"A: b\n", 400),
        (b"GET / HTTP/1.1\r\n" + APP + b"Host: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + APP, 408),
        (b"GET /" + b"a" * 1024 + b" HTTP/1.1\r\n" + APP + b"\r\n", 414),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 1024 + b"\r\n" + APP + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + APP + b"A: " + b"a" * 1024, 431),
    ],
)
def test_a_page_can_read_why_its_head_was_refused(sent: bytes, status: int) -> None:
    """CORS and correlation ID come from what is sure in a head that cannot be parsed."""
    site = Site({"cors.allow_origins": ["https://app.example"], "server.max_header_bytes": 1024})
    transport = site.connect()
    transport.receive(HEALTH)
    transport.take_sent()
    transport.receive(sent)
    site.pass_time(11)
    answer = only(transport.take_sent())

    assert (status, "close", "c-1") == (
        answer.status,
        answer.headers["connection"],
        answer.headers["x-correlation-id"],
    )
    assert "https://app.example" == answer.headers["access-control-allow-origin"]
    assert "true" == answer.headers["access-control-allow-credentials"]
    assert answer.status == answer.json()["statusCode"]


@pytest.mark.parametrize(
    "fields",
    [
        b"Origin: https://evil.example\r\nX-Correlation-ID: a b\r\n",
        b"Origin: https://app.example.evil.example\r\nX-Correlation-ID: a\x7f\r\n",
        b"Origin: *\r\nX-Correlation-ID: " + b"a" * 129 + b"\r\n",
        b"Origin: null\r\nX-Correlation-ID: a\xe4\r\n",
        b"Origin : https://app.example\r\nX-Correlation-ID : evil\r\n",
        b"\r\nOrigin: https://app.example\r\nX-Correlation-ID: evil\r\n",
    ],
)
def test_a_refused_head_reflects_nothing_else(fields: bytes) -> None:
    """An origin that is not listed and an ID that is not valid never come back."""
    transport = Site({"cors.allow_origins": ["https://app.example"]}).connect()
    transport.receive(b"GET / HTTP/1.1\r\nA : b\r\n" + fields + b"\r\n")
    answer = only(transport.take_sent())

    assert 400 == answer.status
    assert not {name for name in answer.headers if name.startswith("access-control")}
    assert 16 == len(answer.headers["x-correlation-id"])


def test_a_correlation_id_is_kept() -> None:
    """A valid `X-Correlation-ID` comes back."""
    assert "c:1" == Site().ask("GET /healthz\nX-Correlation-ID: c:1").headers["x-correlation-id"]


def test_a_peer_whose_address_is_gone_is_answered() -> None:
    """A connection that is reset has no address any more; that is no reason to fail."""
    transport = Site().connect(peer=None)
    transport.receive(request("GET /api/stream/prices"))

    assert 200 == only(transport.take_sent()).status


def test_dropped_is_forgotten_at_once() -> None:
    """A connection that is dropped leaves roster and wheel before the transport says so."""
    site = Site()
    transport = site.connect()
    (protocol,) = site.connections.http
    protocol.drop()

    assert transport.is_aborted
    assert (0, 0) == (len(site.connections.http), len(site.core.wheel))


def test_a_drain_closes_what_is_idle() -> None:
    """A kept-alive connection without a request is closed at once."""
    site = Site()
    transport = site.connect()
    transport.receive(HEALTH)
    for connection in site.connections.http:
        connection.close_when_idle()

    assert transport.has_eof


def test_a_drain_waits_for_the_first_request() -> None:
    """A connection that has not asked yet is heard for a moment.

    Closed without a byte, Firefox asks ten times more (field notes D3).
    """
    site = Site()
    quiet, asking = site.connect(), site.connect()
    site.routes.is_draining = True
    for connection in site.connections.http:
        connection.close_when_idle()
    late = site.connect()
    site.pass_time(FIRST_REQUEST_SECONDS / 2)
    was_open = not quiet.has_eof and not late.has_eof
    asking.receive(request("GET /api/stream/prices\nAccept: text/event-stream"))
    site.pass_time(FIRST_REQUEST_SECONDS)

    assert was_open
    assert [True, True] == [quiet.has_eof, late.has_eof]
    assert "connection:refused" == events(only(asking.take_sent())).events[0].type
    assert asking.has_eof


def test_a_drain_answers_the_request_that_is_under_way() -> None:
    """A request that has begun is answered, and its connection ends with the answer."""
    site = Site()
    transport = site.connect()
    transport.receive(HEALTH[:-1])
    site.routes.is_draining = True
    for connection in site.connections.http:
        connection.close_when_idle()
    transport.receive(HEALTH[-1:])
    answer = only(transport.take_sent())

    assert (200, "close") == (answer.status, answer.headers["connection"])
    assert transport.has_eof


def test_a_drain_leaves_what_already_ends() -> None:
    """A connection that is ending, by request or for its silence, is not ended twice."""
    site = Site({"server.http_idle_seconds": 5})
    silent, closing = site.connect(), site.connect()
    for transport in (silent, closing):
        transport.receive(HEALTH)
    site.pass_time(4)
    closing.receive(request("GET /healthz\nConnection: close"))
    site.pass_time(1.1)
    for connection in site.connections.http:
        connection.close_when_idle()

    assert 2 == len(site.connections.http)
    assert [True, True] == [silent.has_eof, closing.has_eof]
