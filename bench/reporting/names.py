"""What servers and connections are called where people read of them."""

from typing import Final

SERVERS: Final = {
    "send-loop": "C, a send() per event",
    "nchan": "nginx with nchan (C)",
    "better-sse": "better-sse (Node.js)",
    "express": "Express (Node.js)",
    "express-gzip": "Express with compression",
    "sse-starlette": "sse-starlette, uvicorn",
}

CONNECTIONS: Final = {
    "plain": "prices, plain",
    "shared gzip": "prices, gzip (shared encoder)",
    "zstd": "prices, zstd (shared encoder)",
    "private plain": "a user's orders, plain",
    "private gzip": "a user's orders, gzip (own context)",
    "private gzip, no context": "a user's orders, gzip (no context left)",
}


def of_server(name: str) -> str:
    """Return what a server is called."""
    return SERVERS.get(name, name)


def of_connection(kind: str) -> str:
    """Return what a kind of connection to sseserver is called."""
    return CONNECTIONS.get(kind, kind)
