"""sse-starlette: each event of the feed is encoded once and queued for every stream."""

# mypy: disable-error-code=import-not-found
# What is imported here is in the peers' environment, and the feed beside this file.

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import feed
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

_LINE_END = "\n"
_queues: set[asyncio.Queue[bytes]] = set()


def _broadcast(data: str, number: int) -> None:
    event = ServerSentEvent(
        data, event="price:update", id=str(number), retry=5000, sep=_LINE_END
    ).encode()
    for queue in _queues:
        queue.put_nowait(event)


async def _events() -> AsyncIterator[bytes]:
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    _queues.add(queue)
    try:
        while True:
            yield await queue.get()
    finally:
        _queues.discard(queue)


async def _stream(_: Request) -> EventSourceResponse:
    return EventSourceResponse(_events(), sep=_LINE_END)


def _lifespan(_: Starlette) -> AbstractAsyncContextManager[None]:
    listening: AbstractAsyncContextManager[None] = feed.listening(_broadcast)
    return listening


app = Starlette(routes=[Route("/events", _stream)], lifespan=_lifespan)
