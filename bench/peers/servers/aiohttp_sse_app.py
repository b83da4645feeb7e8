"""aiohttp-sse: each event of the feed is queued for every stream, which sends it by `send()`."""

# mypy: disable-error-code=import-not-found
# What is imported here is in the peers' environment, and the feed beside this file.

import asyncio
import os
from collections.abc import AsyncIterator

import feed
import uvloop
from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response

_queues: set[asyncio.Queue[tuple[str, str]]] = set()


def _broadcast(data: str, number: int) -> None:
    event = data, str(number)
    for queue in _queues:
        queue.put_nowait(event)


async def _stream(request: web.Request) -> EventSourceResponse:
    queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    _queues.add(queue)
    try:
        async with sse_response(request, sep="\n") as response:
            while response.is_connected():
                data, number = await queue.get()
                await response.send(data, event="price:update", id=number, retry=5000)
    finally:
        _queues.discard(queue)
    return response


async def _listening(_: web.Application) -> AsyncIterator[None]:
    async with feed.listening(_broadcast):
        yield


if __name__ == "__main__":
    app = web.Application()
    app.router.add_get("/events", _stream)
    app.cleanup_ctx.append(_listening)
    web.run_app(
        app,
        host=os.environ["PEER_HOST"],
        port=int(os.environ["PEER_PORT"]),
        backlog=int(os.environ["PEER_BACKLOG"]),
        access_log=None,
        handler_cancellation=True,  # a stream ends when its client goes, not at the next event
        loop=uvloop.new_event_loop(),
        print=None,
        shutdown_timeout=1,
    )
