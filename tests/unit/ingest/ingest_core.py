"""The core with a pipeline before it: lines in, answers and streams out, without I/O."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from sseserver.events import Event
from sseserver.ingest.pipeline import Backplane, Pipeline
from sseserver.ingest.recent_keys import RecentKeys
from sseserver.ingest.redaction import Redactor
from sseserver.state.sessions import Sessions, StrategyOwners
from tests.support.core import Core, request_for
from tests.support.fake_connection import FakeConnection

RECEIVED = 1000.0
"""Monotonic seconds at which every line has been read."""


class IngestCore(Core):
    """A pipeline with everything behind it.

    Args:
        settings: Keys of the configuration.
        backplane: Stores at once unless a test has its own.
        wall_ms: What the wall clock shows; None for the tests' usual time.
    """

    def __init__(
        self,
        settings: Mapping[str, Any] | None = None,
        backplane: Backplane = lambda event, on_stored: on_stored(event),
        *,
        wall_ms: int | None = None,
    ) -> None:
        super().__init__(settings, wall_ms=wall_ms)
        redaction = self.config.redaction
        self.sessions = Sessions(self.config.limits.max_sessions)
        self.strategies = StrategyOwners(self.config.limits.max_strategies)
        self.keys = RecentKeys(self.config.limits.max_keys)
        self.pipeline = Pipeline(
            hub=self.hub,
            projection=self.projection,
            sessions=self.sessions,
            strategies=self.strategies,
            keys=self.keys,
            redactor=Redactor(redaction.secret_keys, redaction.internal_prefixes),
            backplane=backplane,
            clock=self.clock,
        )

    def answers(self, line: bytes) -> list[dict[str, Any]]:
        """Accept one line and return what is answered."""
        answers: list[bytes] = []
        self.pipeline.look_at_clock()
        self.pipeline.accept(line, RECEIVED, answers.append)
        return [json.loads(answer) for answer in answers]

    def ask(self, **message: Any) -> dict[str, Any]:
        """Accept a message with a reference and return its answer."""
        (answer,) = self.answers(json.dumps({"ref": 1, **message}).encode())
        return answer

    def do(self, op: str, **fields: Any) -> None:
        """Do one operation, which must succeed."""
        assert self.ask(op=op, **fields) == {"ref": 1, "ok": True}

    def publish(
        self, event_type: str, data: Mapping[str, Any], user_id: str | None = "user-1"
    ) -> str:
        """Publish one event, which must be accepted, and return its ID."""
        user = {} if user_id is None else {"userId": user_id}
        answer = self.ask(type=event_type, data=data, **user)
        assert answer["ok"], answer
        event_id: str = answer["id"]
        return event_id


class SlowBackplane:
    """Stores an event when the test says so."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Event, Callable[[Event], None]]] = []

    def __call__(self, event: Event, on_stored: Callable[[Event], None]) -> None:
        self._waiting.append((event, on_stored))

    def store(self) -> None:
        """Store what waits."""
        for event, on_stored in self._waiting:
            on_stored(event)
        self._waiting.clear()


def received(connection: FakeConnection) -> list[tuple[str, Any]]:
    """Return type and payload of every event that a connection has taken."""
    return [(event.type, json.loads(event.data)) for event in connection.source().events]


def live(core: IngestCore, stream: str, **options: Any) -> FakeConnection:
    """Return an open stream of user-1 that has taken its opening."""
    connection = core.connect(request_for(stream, **options))
    core.hub.flush()
    return connection


def news(core: IngestCore, connection: FakeConnection, known: int) -> list[tuple[str, Any]]:
    """Return what a connection receives beyond its first `known` events."""
    core.hub.flush()
    return received(connection)[known:]
