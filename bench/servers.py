"""The servers that a bench may run, sseserver and its peers, by name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final

from bench.machine import SERVER_CORE
from bench.peers import PEERS, Peer, PeerMissingError
from bench.sseserver import sseserver

SERVERS: Final[Mapping[str, Callable[[int], AbstractContextManager[Peer]]]] = {
    "sseserver": sseserver,
    **PEERS,
}


@contextmanager
def running(name: str) -> Iterator[Peer | None]:
    """Run one server on the server's core; None, and a word about it, when it is not here."""
    with ExitStack() as stack:
        try:
            peer = stack.enter_context(SERVERS[name](SERVER_CORE))
        except PeerMissingError as error:
            print(f"{name:<14} left out: {error}")
            yield None
        else:
            yield peer


def names_among(words: Sequence[str]) -> list[str]:
    """Return the servers that arguments name; an unknown one ends the bench."""
    unknown = sorted(set(words) - set(SERVERS))
    if unknown:
        raise SystemExit(f"no such server: {', '.join(unknown)}; there are {', '.join(SERVERS)}")
    return list(words)
