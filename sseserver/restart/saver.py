"""Loads the state file at the start, and writes it now and then and at the end of a drain.

Records are made on the event loop, a slice at a time, and packed and written on a thread: an
event never waits longer for a save than for a slice.
"""

import asyncio
import contextlib
import ctypes
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

import structlog

from sseserver.checkpoint import Stores, decode, records_of, restore
from sseserver.errors import StartError, StateFileError
from sseserver.restart.state_file import StateFileWriter, mark_running, read, set_aside

SLICE_SECONDS: Final = 0.001
"""How long the event loop makes records before it does something else."""

_RESERVE_MS: Final = 10_000
"""Beside the time to the next save: what that save may take."""

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_log = structlog.get_logger()


def load(path: Path, stores: Stores) -> None:
    """Take over what the last server left; where there is nothing, do nothing.

    Args:
        path: `state.path`.
        stores: Empty ones; after an error they are not to be used.

    Raises:
        StateFileError: The file cannot be used.
        StartError: It cannot be read.
    """
    try:
        is_complete = _take_over(path, stores)
    except MemoryError as error:
        raise StateFileError("it does not fit into memory") from error
    if is_complete is None:
        return
    _give_memory_back()
    _log.info(
        "state_loaded",
        path=str(path),
        users=len(stores.hub.users),
        sessions=stores.sessions.count,
        is_complete=is_complete,
    )


def _take_over(path: Path, stores: Stores) -> bool | None:
    """Return whether what was there is complete, None where there was nothing."""
    saved = read(path)
    if saved is None:
        return None
    restore(stores, decode(saved.records), is_drained=saved.is_drained)
    return saved.is_drained


def _give_memory_back() -> None:
    """Let the C heap shrink: a file takes as much again while it is read as what is in it."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc
        libc.malloc_trim(0)


def reject(path: Path, error: StateFileError) -> None:
    """Set a file that cannot be used aside, and say so.

    Raises:
        StartError: It stays where it is.
    """
    damaged = set_aside(path)
    _log.error("state_damaged", path=str(path), reason=str(error), set_aside=str(damaged))


@contextlib.asynccontextmanager
async def saving(path: Path, save_seconds: float, stores: Stores) -> AsyncIterator[None]:
    """Save every `save_seconds` inside the block, and everything after it.

    Before, it is said in the file that facts are acknowledged from now on that are not in it.
    At the end nothing may be acknowledged any more; where the block ends with an error, that is
    not sure, and the file says so.

    Raises:
        StartError: Nothing can be written there.
    """
    try:
        StateFileWriter(path).abandon()
    except OSError as error:
        raise StartError(f"cannot write {path}: {error.strerror or error}") from error
    mark_running(path)
    ending = asyncio.Event()
    reserve_ms = round(save_seconds * 1000) + _RESERVE_MS
    running = asyncio.create_task(_save_until(ending, path, save_seconds, stores, reserve_ms))
    is_drained = False
    try:
        yield
        is_drained = True
    finally:
        ending.set()
        await running  # a save under way is not cut short
        # All at once: what expires meanwhile would be in none of the records.
        await _save(path, iter(list(records_of(stores, reserve_ms))), is_drained=is_drained)


async def _save_until(
    ending: asyncio.Event, path: Path, save_seconds: float, stores: Stores, reserve_ms: int
) -> None:
    while not ending.is_set():
        # First at once: what a former server reserved does not hold for this one.
        await _save(path, records_of(stores, reserve_ms), is_drained=False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(save_seconds):
                await ending.wait()


async def _save(path: Path, records: Iterator[bytes], *, is_drained: bool) -> None:
    started = time.monotonic()
    try:
        writer = await _on_thread(StateFileWriter, path)
        try:
            for part in _slices(records):
                await _on_thread(writer.write, part)
            await _on_thread(partial(writer.commit, is_drained=is_drained))
        except BaseException:
            writer.abandon()
            raise
    except OSError as error:
        _log.error("state_save_failed", path=str(path), error=error.strerror or str(error))
        return
    except Exception:  # noqa: BLE001 - one of the three places: a bug costs one save
        _log.exception("state_save_failed", path=str(path))
        return
    _log.debug("state_saved", path=str(path), seconds=round(time.monotonic() - started, 3))


async def _on_thread(function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)


def _slices(records: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Return as many records at a time as are made within `SLICE_SECONDS`."""
    part: list[bytes] = []
    ends_at = time.monotonic() + SLICE_SECONDS
    for record in records:
        part.append(record)
        if time.monotonic() >= ends_at:
            yield part
            part = []
            ends_at = time.monotonic() + SLICE_SECONDS
    if part:
        yield part
