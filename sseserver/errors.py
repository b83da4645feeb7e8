"""Exceptions, and the reasons for which a connection ends.

* `SseServerError`
    * `ConfigError`: a configuration that cannot be used; holds every problem at once.
    * `FeedError`: one bad line of a feed; answered on the ingest port.
    * `RequestError`: one HTTP request that gets an error status.
    * `StartError`: the daemon cannot start (port taken, ingest path in use).
    * `StateFileError`: a state file that cannot be used; it is set aside.

Foreign exceptions are translated into these where they enter, once. A bug is an
`AssertionError` and never one of these.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class CloseReason(StrEnum):
    """Why a connection ended: the word in the log, the metrics and the farewell."""

    CLIENT_LEFT = "client_left"
    CONNECTION_LIMIT = "connection_limit"
    IDLE = "idle"
    INPUT_FLOOD = "input_flood"
    INTERNAL_ERROR = "internal_error"
    REFUSED = "refused"
    SESSION_EXPIRED = "session_expired"
    SHUTDOWN = "shutdown"
    SLOW_CONSUMER = "slow_consumer"
    STRATEGY_GONE = "strategy_gone"
    WRITE_FAILED = "write_failed"


class GapReason(StrEnum):
    """Why events after a last event ID may be gone (contract section 4, `stream:gap`)."""

    EVICTED = "evicted"
    EXPIRED = "expired"
    RESTARTED = "restarted"
    UNKNOWN = "unknown"
    TOO_SLOW = "too_slow"


class FeedErrorCode(StrEnum):
    """Error codes of the ingest port (contract section 3)."""

    INVALID_JSON = "invalid_json"
    INVALID_MESSAGE = "invalid_message"
    UNKNOWN_OP = "unknown_op"
    UNKNOWN_TYPE = "unknown_type"
    TOO_LARGE = "too_large"
    NOT_ALLOWED = "not_allowed"
    UNAVAILABLE = "unavailable"


class ConfigProblem(NamedTuple):
    """One thing wrong with a configuration.

    `path` is the dotted key (`server.port`), `value` its offending value as text, and
    `allowed` says what would be right.
    """

    path: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.path}: {self.value}: {self.allowed}"


class SseServerError(Exception):
    """Everything this package raises on purpose."""


class ConfigError(SseServerError):
    """A configuration that cannot be used, with all its problems."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class StartError(SseServerError):
    """The daemon cannot start; the text is one line for the operator."""


class StateFileError(SseServerError):
    """A state file that is damaged or is none; the text says what is wrong with it."""


class FeedError(SseServerError):
    """One line of a feed that cannot be accepted.

    `ref` is the line's own reference where it could be read; `path` points at the fault
    (`$.data.price`) where there is one.
    """

    def __init__(
        self,
        code: FeedErrorCode,
        message: str,
        *,
        path: str | None = None,
        ref: str | int | None = None,
    ) -> None:
        self.code = code
        self.message = message
        self.path = path
        self.ref = ref
        super().__init__(message)


class RequestError(SseServerError):
    """One HTTP request that is answered with an error status.

    `message` goes into the JSON body, `headers` are added to the response, and
    `is_framing` says that the byte stream cannot be trusted any more: the connection
    ends after the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        is_framing: bool = False,
    ) -> None:
        self.status = status
        self.message = message
        self.headers = tuple(headers)
        self.is_framing = is_framing
        super().__init__(f"{status} {message}")
