"""Tests of `sseserver.restart.saver`."""

import asyncio
from pathlib import Path

import pytest

from sseserver.checkpoint import Stores
from sseserver.errors import StartError, StateFileError
from sseserver.restart import saver
from sseserver.restart.state_file import read
from sseserver.state.sessions import Sessions
from tests.support.captured_log import captured_log
from tests.unit.ingest.ingest_core import IngestCore

ALERT = {"alertId": "a-1", "level": "info", "message": "m"}


def stores_of(core: IngestCore) -> Stores:
    """Return what of a core survives."""
    return Stores(core.hub, core.projection, core.sessions, core.strategies, core.keys, core.clock)


def drained(path: Path) -> bool:
    """Return whether the file says that it is complete."""
    saved = read(path)
    assert saved is not None
    return saved.is_drained


async def test_it_saves_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    """Only the last save says that nothing is missing."""
    path = tmp_path / "state"
    core = IngestCore()
    async with saver.saving(path, 0.05, stores_of(core)):
        async with asyncio.timeout(10):
            while not path.exists():
                await asyncio.sleep(0)
        amid = drained(path)
        core.publish("alert:new", ALERT)
    new = IngestCore()
    saver.load(path, stores_of(new))

    assert (False, True) == (amid, drained(path))
    assert 1 == new.hub.users.buffered_events


async def test_a_file_is_incomplete_from_the_begin_on(tmp_path: Path) -> None:
    """Before anything else happens."""
    path = tmp_path / "state"
    async with saver.saving(path, 3600, stores_of(IngestCore())):
        pass
    before = drained(path)
    async with saver.saving(path, 3600, stores_of(IngestCore())):
        assert (True, False) == (before, drained(path))


async def test_where_nothing_can_be_written_nothing_begins(tmp_path: Path) -> None:
    """With one line for the operator."""
    path = tmp_path / "missing" / "state"
    with pytest.raises(StartError, match="cannot write"):
        async with saver.saving(path, 3600, stores_of(IngestCore())):
            pass


def test_a_first_start_finds_nothing(tmp_path: Path) -> None:
    """And is no error."""
    saver.load(tmp_path / "state", stores_of(IngestCore()))


def test_a_file_that_cannot_be_used_is_set_aside(tmp_path: Path) -> None:
    """So that the next save does not destroy what may be looked at."""
    path = tmp_path / "state"
    path.write_bytes(b"damaged")
    with pytest.raises(StateFileError) as error:
        saver.load(path, stores_of(IngestCore()))
    saver.reject(path, error.value)

    assert b"damaged" == path.with_name("state.damaged").read_bytes()


async def test_what_ends_with_an_error_is_not_complete(tmp_path: Path) -> None:
    """It is saved all the same, but nobody knows what was acknowledged meanwhile."""
    path = tmp_path / "state"
    with pytest.raises(ZeroDivisionError):
        async with saver.saving(path, 3600, stores_of(IngestCore())):
            raise ZeroDivisionError

    assert not drained(path)


async def test_a_bug_costs_one_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told with its traceback, and the last save is made."""
    path = tmp_path / "state"
    core = IngestCore()
    with captured_log() as log:
        async with saver.saving(path, 0.05, stores_of(core)):
            with monkeypatch.context() as patch:
                patch.setattr(Sessions, "saved", lambda _: 1 / 0)
                async with asyncio.timeout(10):
                    while not log.of("state_save_failed"):
                        await asyncio.sleep(0)

    assert drained(path)
