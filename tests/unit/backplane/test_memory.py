"""Tests of `sseserver.backplane.memory`."""

from typing import TYPE_CHECKING

from sseserver.backplane import memory
from sseserver.events import Event

if TYPE_CHECKING:
    from sseserver.ingest.pipeline import Backplane


def test_what_is_published_is_stored_at_once() -> None:
    """`on_stored` is called with the event, once, before `publish` returns."""
    backplane: Backplane = memory.publish
    stored: list[Event] = []
    event = Event(1, "alert:new", b"{}", route="alerts", user_id="user-1")
    backplane(event, stored.append)

    assert stored == [event]
