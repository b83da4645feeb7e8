"""Tests of `sseserver.net.exchange`."""

import json

import pytest

from sseserver.net.exchange import Response, error_response, http_date, json_response
from tests.unit.net.site import parsed

JSON = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))


def test_headers_of_one_name_are_one_list() -> None:
    """Several fields are joined by commas, in their order; none is None."""
    request = parsed("GET /\nAccept: a\nACCEPT: b, c\nCookie: x")

    assert ("a, b, c", "x", None) == (
        request.header("accept"),
        request.header("cookie"),
        request.header("origin"),
    )


@pytest.mark.parametrize(
    ("head", "host"),
    [
        ("GET /\nHost: a.example:80", "a.example:80"),
        ("GET http://b.example/\nHost: a.example", "b.example"),
    ],
)
def test_the_target_names_the_host_before_the_field(head: str, host: str) -> None:
    """An absolute target stands in place of `Host` (RFC 9112 section 3.2.2)."""
    assert host == parsed(head).host


def test_a_query_parameter_is_its_first_value() -> None:
    """Later ones do not override it; one that is missing is None."""
    request = parsed("GET /?a=1&a=2&b=")

    assert ("1", "", None) == (request.query("a"), request.query("b"), request.query("c"))


def test_a_json_answer_is_not_stored() -> None:
    """It says what it is, and that no cache may keep it."""
    assert Response(200, JSON, b'{"a":1}') == json_response(200, {"a": 1})


def test_an_error_is_the_specifications_json() -> None:
    """Error, message and status, under headers of its own and those it was given."""
    response = error_response(429, "Later", (("Retry-After", "7"),), closes=True)
    body = {"error": "Too Many Requests", "message": "Later", "statusCode": 429}

    assert (429, (("Retry-After", "7"), *JSON), True) == (
        response.status,
        response.headers,
        response.closes,
    )
    assert body == json.loads(response.body)


def test_date_is_made_once_a_second() -> None:
    """The value is HTTP's, and the same object within a second."""
    date = http_date(784_111_777)

    assert "Sun, 06 Nov 1994 08:49:37 GMT" == date
    assert http_date(784_111_777) is date
    assert "Sun, 06 Nov 1994 08:49:38 GMT" == http_date(784_111_778)
