"""Tests of `sseserver.hub.state_source`."""

import inspect

import pytest

from sseserver.hub.state_source import StateSource
from sseserver.ingest.state_view import StateView
from sseserver.state.projection import Projection
from tests.support.core import configured, request_for

QUESTIONS = [name for name in vars(StateSource) if not name.startswith("_")]


@pytest.fixture
def source() -> StateSource:
    """Return the one implementation there is, over a projection that knows nothing."""
    return StateView(Projection(configured().limits, 10))


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_can_be_asked_by_its_parameter_names(source: StateSource, name: str) -> None:
    """The implementation takes what the hub names, however it keeps the state."""
    asked = list(inspect.signature(getattr(StateSource, name)).parameters)

    assert asked == ["self", *inspect.signature(getattr(source, name)).parameters]


def test_where_nothing_is_known_there_is_nothing_to_tell(source: StateSource) -> None:
    """No stream gets an event out of nothing but its snapshot."""
    request = request_for("trading")

    assert ([], [], [], None) == (
        list(source.quotes_after(None, 0)),
        list(source.news(request, 0, "now")),
        list(source.take_revalued()),
        source.revaluation("user-1", 0, "now"),
    )


@pytest.mark.parametrize(
    ("stream", "types"),
    [
        ("orders", ["order:update"]),
        ("positions", ["position:update"]),
        ("trading", ["order:update", "position:update"]),
        ("prices", ["price:update"]),
        ("alerts", []),
        ("ai-decisions", []),
        ("strategies/s-1", []),
    ],
)
def test_the_streams_of_the_contract_have_a_snapshot(
    source: StateSource, stream: str, types: list[str]
) -> None:
    """Orders, positions, trading (both) and prices have one, the others none."""
    payloads = source.snapshot(request_for(stream), "now")

    assert types == [event_type for event_type, _ in payloads]
