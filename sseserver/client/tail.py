"""The `tail` command: follow one stream over any break, and print what it sends.

Behaves as an EventSource does (WHATWG HTML, section 9.2), with two things a browser lacks: it
says why a stream ended, and it waits as long as `Retry-After` asks.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final, NamedTuple

import httpx
import httpx_sse

from sseserver.client.event_text import event_line, parse_json
from sseserver.client.printable import escape_unprintable

DEFAULT_RETRY_SECONDS: Final = 5.0
"""Pause before a reconnect until the server names one (contract key `stream.retry_ms`)."""

_MAX_RETRY_SECONDS: Final = 3600.0  # a server's slip must not stop us for ever
_MIN_RETRY_SECONDS: Final = 0.1  # and `retry: 0` must not make us a flood
_CONNECT_TIMEOUT_SECONDS: Final = 10.0
# Four keepalives of the default period missed: the peer is gone without a word.
_SILENCE_TIMEOUT_SECONDS: Final = 120.0
_MAX_ERROR_BYTES: Final = 65536

# What passes by itself: too many attempts or connections, and what a proxy answers while the
# server behind it restarts.
_PASSING_STATUSES: Final = frozenset({429, 500, 502, 503, 504})


class Options(NamedTuple):
    """What the command line asks for; the header values are printable ASCII."""

    url: str
    cookie: str | None = None
    last_event_id: str | None = None
    is_json: bool = False


def run(options: Options) -> int:
    """Follow a stream until it is over for good.

    Returns:
        0 when interrupted from the keyboard, 1 when the server refuses for good.

    Raises:
        BrokenPipeError: Nobody reads the output any more.

    Source: contract section 1.
    """
    try:
        return asyncio.run(_follow(options))
    except KeyboardInterrupt:
        return 0


async def _follow(options: Options) -> int:
    timeout = httpx.Timeout(_SILENCE_TIMEOUT_SECONDS, connect=_CONNECT_TIMEOUT_SECONDS)
    trusts_proxies = not _is_loopback(httpx.URL(options.url).host)
    no_pool = httpx.Limits(max_keepalive_connections=0)  # a stream that ended is let go of
    async with httpx.AsyncClient(
        timeout=timeout, limits=no_pool, trust_env=trusts_proxies
    ) as client:
        follower = Follower(client, options)
        while True:
            seconds = await follower.connect()
            if seconds is None:
                return 1
            await asyncio.sleep(seconds)


def _is_loopback(host: str) -> bool:
    """Return whether a host is this machine, which no proxy can reach for us."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Follower:
    """A stream followed over several connections: the last event ID and the time to wait."""

    def __init__(self, client: httpx.AsyncClient, options: Options) -> None:
        self._client = client
        self._options = options
        self._last_event_id = options.last_event_id or ""
        self._retry_seconds = DEFAULT_RETRY_SECONDS

    async def connect(self) -> float | None:
        """Follow one connection to its end and print its events.

        Returns:
            Seconds to wait before the next connection; None when there should be none.
        """
        try:
            async with httpx_sse.aconnect_sse(
                self._client, "GET", self._options.url, headers=self._headers()
            ) as source:
                if source.response.status_code != HTTPStatus.OK:
                    return await self._on_refusal(source.response)
                await self._print_events(source)
        except httpx_sse.SSEError as error:
            _complain(str(error))
            return None
        except httpx.RequestError as error:  # no connection, a break, a damaged encoding
            what = f"{str(error) or type(error).__name__} ({error.request.url})"
        else:
            what = "the stream ended"
        _complain(f"{what}; next try in {self._retry_seconds:g} s")
        return self._retry_seconds

    def _headers(self) -> dict[str, str | bytes]:
        headers: dict[str, str | bytes] = {}
        if self._options.cookie is not None:
            headers["Cookie"] = self._options.cookie
        if self._last_event_id:
            headers["Last-Event-ID"] = self._last_event_id.encode()  # UTF-8, as WHATWG says
        return headers

    async def _print_events(self, source: httpx_sse.EventSource) -> None:
        async with aclosing(source.aiter_sse()) as events:
            async for event in events:
                self._take_over(event)
                # A block without data is no event: a bare `retry:`, or the blank line after a
                # comment, for which the library makes one.
                if event.data:
                    sys.stdout.write(self._format(event) + "\n")
                    sys.stdout.flush()

    def _take_over(self, event: httpx_sse.ServerSentEvent) -> None:
        if event.retry is not None and event.retry >= 0:
            seconds = min(event.retry, int(_MAX_RETRY_SECONDS * 1000)) / 1000
            self._retry_seconds = max(seconds, _MIN_RETRY_SECONDS)
        # A header cannot carry a control character back.
        if event.id and event.id.isprintable():
            self._last_event_id = event.id

    def _format(self, event: httpx_sse.ServerSentEvent) -> str:
        if self._options.is_json:
            return json_line(event)
        now = datetime.now(UTC).astimezone()
        return event_line(
            event.event, event.data, now, has_colour=wants_colour(sys.stdout.isatty(), os.environ)
        )

    async def _on_refusal(self, response: httpx.Response) -> float | None:
        status = response.status_code
        reason = response.reason_phrase
        message = await _error_message(response)
        text = f"{status} {reason}" + (f": {message}" if message else "")
        if status not in _PASSING_STATUSES:
            location = response.headers.get("Location")
            _complain(text + (f" (it points to {location})" if location else ""))
            return None
        seconds = _retry_after(response.headers.get("Retry-After"), self._retry_seconds)
        _complain(f"{text}; next try in {seconds:g} s")
        return seconds


async def _error_message(response: httpx.Response) -> str:
    """Return what an error response says, within a bound: the JSON body's message."""
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MAX_ERROR_BYTES:
            return ""
    value = parse_json(body.decode("utf-8", "replace"))
    message = value.get("message") if isinstance(value, dict) else None
    return message if isinstance(message, str) else ""


def _retry_after(value: str | None, otherwise: float) -> float:
    """Return the seconds a `Retry-After` header asks for; its date form is not used here."""
    if value is None or not (value.isascii() and value.isdigit()) or len(value) > 9:
        return otherwise
    return min(max(float(value), _MIN_RETRY_SECONDS), _MAX_RETRY_SECONDS)


def wants_colour(is_terminal: bool, environ: Mapping[str, str]) -> bool:  # noqa: FBT001 - a fact
    """Return whether to colour the output (https://no-color.org)."""
    return is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def json_line(event: httpx_sse.ServerSentEvent) -> str:
    """Return an event as one JSON object: `event`, `id`, `retry` and `data`.

    `id` is the last event ID as an EventSource reports it, so an event that came without one
    shows the one before; `data` is text where it is not JSON.
    """
    value: dict[str, object] = {"event": event.event, "id": event.id or None, "retry": event.retry}
    try:
        return _encode(value | {"data": parse_json(event.data)})
    except (ValueError, RecursionError):  # a number past any float, a nesting too deep to write
        return _encode(value | {"data": event.data})


def _encode(value: dict[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _complain(text: str) -> None:
    sys.stderr.write(f"sseserver tail: {escape_unprintable(text)}\n")
    sys.stderr.flush()
