"""Tests of `sseserver.errors`."""

import pytest

from sseserver.errors import (
    ConfigError,
    ConfigProblem,
    FeedError,
    FeedErrorCode,
    GapReason,
    RequestError,
    SseServerError,
    StartError,
)

PORT = ConfigProblem("server.port", "99999", "a number from 0 to 65535")
LEVEL = ConfigProblem("log.level", "'loud'", "debug, info, warning or error")


@pytest.mark.parametrize(
    "error",
    [
        ConfigError([PORT]),
        FeedError(FeedErrorCode.INVALID_JSON, "no JSON"),
        RequestError(404, "no such path"),
        StartError("the port is taken"),
    ],
)
def test_all_errors_have_one_parent(error: Exception) -> None:
    """Whoever catches `SseServerError` catches everything raised on purpose."""
    assert isinstance(error, SseServerError)


def test_a_problem_reads_as_one_line() -> None:
    """A problem names its key, its value and what is allowed."""
    assert "server.port: 99999: a number from 0 to 65535" == str(PORT)


def test_a_config_error_says_every_problem() -> None:
    """The text has one line for each problem, in their order."""
    assert f"{PORT}\n{LEVEL}" == str(ConfigError([PORT, LEVEL]))


def test_a_config_error_keeps_its_problems() -> None:
    """The problems stay what they were when the list they came in changes."""
    problems = [PORT]
    error = ConfigError(problems)
    problems.append(LEVEL)

    assert (PORT,) == error.problems


def test_a_feed_error_keeps_code_path_and_reference() -> None:
    """Everything that the answer on the ingest port needs is there."""
    error = FeedError(FeedErrorCode.INVALID_MESSAGE, "too low", path="$.data.qty", ref=7)

    assert ("invalid_message", "too low", "$.data.qty", 7, "too low") == (
        error.code,
        error.message,
        error.path,
        error.ref,
        str(error),
    )


def test_a_feed_error_may_have_neither_path_nor_reference() -> None:
    """A line that could not be read has no place and no reference."""
    error = FeedError(FeedErrorCode.TOO_LARGE, "too long")

    assert (None, None) == (error.path, error.ref)


def test_a_request_error_keeps_status_message_and_headers() -> None:
    """Everything that the response needs is there; its text says status and message."""
    error = RequestError(405, "use GET", headers=[("Allow", "GET")], is_framing=True)

    assert (405, "use GET", (("Allow", "GET"),), True, "405 use GET") == (
        error.status,
        error.message,
        error.headers,
        error.is_framing,
        str(error),
    )


def test_a_request_error_leaves_the_connection_open_by_default() -> None:
    """Without headers and framing fault the connection can take the next request."""
    error = RequestError(404, "no such path")

    assert ((), False) == (error.headers, error.is_framing)


def test_the_error_codes_are_those_of_the_contract() -> None:
    """The ingest port answers with the contract's codes and no other (section 3)."""
    assert {
        "invalid_json",
        "invalid_message",
        "unknown_op",
        "unknown_type",
        "too_large",
        "not_allowed",
        "unavailable",
    } == set(FeedErrorCode)


def test_the_gap_reasons_are_those_of_the_contract() -> None:
    """`stream:gap` gives the contract's reasons and no other (section 4)."""
    assert {"evicted", "expired", "restarted", "unknown", "too_slow"} == set(GapReason)
