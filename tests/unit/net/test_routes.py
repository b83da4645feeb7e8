"""Tests of `sseserver.net.routes`."""

import zlib

import pytest
import structlog

from sseserver.errors import RequestError
from sseserver.event_id import format_event_id
from sseserver.net.exchange import Response
from tests.support.core import configured
from tests.support.stream_client import Dechunker, ZstdFrames
from tests.unit.net.site import Site, events, only, parsed, request

TEST = "POST /api/stream/test"


def test_health() -> None:
    """`/healthz` is 200 while the process is alive, draining or not."""
    site = Site()
    alive = site.ask("GET /healthz")
    site.routes.is_draining = True
    draining = site.ask("GET /healthz")

    assert (200, {"status": "ok"}) == (alive.status, alive.json())
    assert (200, {"status": "ok"}) == (draining.status, draining.json())


def test_readiness() -> None:
    """`/readyz` is 200 while accepting and 503 while draining, which ends the connection."""
    site = Site()
    ready = site.ask("GET /readyz")
    site.routes.is_draining = True
    draining = site.ask("GET /readyz")

    assert (200, {"status": "ready"}) == (ready.status, ready.json())
    assert "connection" not in ready.headers
    assert {
        "error": "Service Unavailable",
        "message": "The server is draining",
        "statusCode": 503,
    } == draining.json()
    assert (503, "1", "close") == (
        draining.status,
        draining.headers["retry-after"],
        draining.headers["connection"],
    )


def test_prometheus() -> None:
    """`/metrics` is text for Prometheus, and not to be stored."""
    answer = Site().ask("GET /metrics")

    assert 200 == answer.status
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "no-store" == answer.headers["cache-control"]
    assert b"sseserver_requests_total" in answer.body


def test_metrics_name_users_where_that_is_allowed() -> None:
    """`/api/stream/metrics` has names for who is near, and an empty list for others."""
    site = Site()
    site.connect().receive(request("GET /api/stream/trading?userId=user-1"))
    near = site.ask("GET /api/stream/metrics").json()
    far = site.ask("GET /api/stream/metrics\nHost: evil.example").json()

    assert [{"userId": "user-1", "clientCount": 1}] == near["clientsPerUser"]
    assert [] == far["clientsPerUser"]
    assert (1, 1) == (far["totalClients"], far["totalUsers"])


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/readyz", "GET, HEAD, OPTIONS"),
        ("/metrics", "GET, HEAD, OPTIONS"),
        ("/api/stream/metrics", "GET, HEAD, OPTIONS"),
        ("/api/stream/test", "POST, OPTIONS"),
        ("/api/stream/orders", "GET, OPTIONS"),
        ("/api/stream/strategies/any", "GET, OPTIONS"),
    ],
)
def test_methods(path: str, allow: str) -> None:
    """OPTIONS says what a path takes, and every other method is answered 405 with the same."""
    site = Site()
    options = site.ask(f"OPTIONS {path}")
    refused = {
        method: site.ask(f"{method} {path}")
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get")
        if method not in allow
    }

    assert (200, allow, b"") == (options.status, options.headers["allow"], options.body)
    assert refused
    assert dict.fromkeys(refused, (405, allow)) == {
        method: (answer.status, answer.headers["allow"]) for method, answer in refused.items()
    }
    assert {"Method Not Allowed"} == {answer.json()["error"] for answer in refused.values()}


def test_options_of_the_server_as_a_whole() -> None:
    """`OPTIONS *` says what the server takes somewhere; no other method has `*` as its path."""
    site = Site()
    options = site.ask("OPTIONS *")
    others = [site.ask(f"{method} *").status for method in ("GET", "POST", "PUT", "options")]

    assert (200, "GET, HEAD, POST, OPTIONS", b"") == (
        options.status,
        options.headers["allow"],
        options.body,
    )
    assert [404] * 4 == others


@pytest.mark.parametrize(
    "target",
    [
        "/nowhere",
        "/api/stream",
        "/api/stream/",
        "/api/stream/orders/",
        "/api/stream/strategies",
        "/api/stream/strategies/",
        "/api/stream/strategies/a/b",
        "/api/stream/strategies%2Fa",
        "/api/stream%2Fprices",
        "/api%2Fstream%2Ftest",
        "/%2Fhealthz",
        "/healthz%2F",
        "/api/stream/nothing",
        "/API/stream/orders",
        "//api/stream/orders",
        "/healthz/../readyz",
        "/api/stream/%2e/orders",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_paths_are_not_found(method: str, target: str) -> None:
    """404 comes before the method is looked at."""
    answer = Site().ask(f"{method} {target}")

    assert (404, "No such path") == (answer.status, answer.json()["message"])


def test_every_answer_has_cors_and_correlation_headers() -> None:
    """Successes and errors alike, with `Vary` where the answer depends on the origin."""
    site = Site({"cors.allow_origins": ["https://app.example"]})
    site.routes.is_draining = False
    fields = "\nOrigin: https://app.example\nX-Correlation-ID: c-9"
    found = [
        site.ask(f"{line}{fields}")
        for line in ("GET /healthz", "GET /x", "OPTIONS /healthz", TEST, "GET /%zz", "PUT /readyz")
    ]

    assert [200, 404, 200, 401, 400, 405] == [answer.status for answer in found]
    for answer in found:
        assert {
            "access-control-allow-origin": "https://app.example",
            "access-control-allow-credentials": "true",
            "access-control-allow-methods": "GET, OPTIONS",
            "access-control-allow-headers": "Content-Type, Authorization",
            "access-control-expose-headers": "X-Correlation-ID",
            "vary": "Origin",
            "x-correlation-id": "c-9",
        }.items() <= answer.headers.items()


def test_refused_answers_have_them_too() -> None:
    """What could not be read as a request is answered like everything else."""
    error = RequestError(431, "Too much", is_framing=True)
    response = Site().routes.refuse(error, "c-9", None)

    assert (431, True) == (response.status, response.closes)
    assert {
        ("Access-Control-Allow-Origin", "*"),
        ("X-Correlation-ID", "c-9"),
    } <= set(response.headers)


def test_a_test_event_needs_an_admin() -> None:
    """401 without a session, 403 without the role, 403 from a foreign page before both."""
    site = Site()
    site.session("s-1", "user-1")
    site.session("s-a", "root", "admin")
    cases = {
        "": 401,
        "\nCookie: session=none": 401,
        "\nCookie: session=s-1": 403,
        "\nCookie: session=s-a": 200,
        "\nOrigin: https://evil.example": 403,
        "\nOrigin: https://evil.example\nCookie: session=s-a": 403,
        "\nOrigin: null\nCookie: session=s-a": 403,
        "\nOrigin: http://localhost\nCookie: session=s-a": 200,
    }

    assert cases == {fields: site.ask(f"{TEST}{fields}").status for fields in cases}


def test_a_test_event_goes_to_every_connection() -> None:
    """It is delivered in every coding, under the ID that the answer names."""
    site = Site()
    site.session("s-a", "root", "admin")
    plain, gzip, zstd = (site.connect(peer=("127.0.0.1", port)) for port in (1, 2, 3))
    plain.receive(request("GET /api/stream/alerts\nCookie: session=s-a"))
    gzip.receive(request("GET /api/stream/prices?symbols=A\nAccept-Encoding: gzip"))
    zstd.receive(request("GET /api/stream/prices\nAccept-Encoding: zstd"))
    answer = site.ask(f"{TEST}\nCookie: session=s-a")
    site.hub.flush()
    decoders = (None, zlib.decompressobj(31), ZstdFrames())
    received = []
    for transport, decoder in zip((plain, gzip, zstd), decoders, strict=True):
        stream = only(bytes(transport.sent))
        body = Dechunker().feed(stream.body)
        if decoder is not None:
            body = decoder.decompress(body)
        plain_stream = stream._replace(body=body, headers={})
        received.append(events(plain_stream).events[-1])

    assert {
        "success": True,
        "id": format_event_id(site.hub.ids.last),
        "clients": 3,
    } == answer.json()
    assert [("test", answer.json()["id"])] * 3 == [
        (event.type, event.last_event_id) for event in received
    ]
    assert ['{"message":"Test event","timestamp":"2025-01-02T12:10:00.000Z"}'] * 3 == [
        event.data for event in received
    ]


def test_a_bug_costs_one_answer() -> None:
    """What no endpoint expects is logged with its stack and answered 500."""

    class Broken(dict[str, object]):
        def get(self, key: str, default: object = None) -> object:
            raise ZeroDivisionError

    site = Site()
    site.routes._endpoints = Broken()  # type: ignore[assignment]  # the bug
    with structlog.testing.capture_logs() as logs:
        response = site.routes.answer(parsed("GET /healthz"))

    assert isinstance(response, Response)
    assert 500 == response.status
    assert b"Failed to establish SSE connection" in response.body
    assert ("X-Correlation-ID", "c-1") in response.headers
    assert ["request_failed"] == [
        line["event"] for line in logs if line["log_level"] == "error" and line["exc_info"]
    ]


def test_correlation_ids_of_ours_are_unique_and_valid() -> None:
    """A request that brings none gets one that we would keep ourselves."""
    routes = Site().routes
    made = {routes.new_correlation_id() for _ in range(100)}

    assert 100 == len(made)
    assert all(len(one) == 16 for one in made)


def test_configuration_is_taken_over() -> None:
    """A reload reaches CORS, access and limits; open connections stay."""
    site = Site()
    site.reconfigure(
        configured({"cors.allow_origins": ["https://app.example"], "auth.trading": "session"})
    )

    assert "access-control-allow-origin" not in site.ask("GET /healthz").headers
    assert 401 == site.ask("GET /api/stream/trading?userId=user-1").status
    assert 5 == site.attempts.limits.attempts_per_minute_per_ip
