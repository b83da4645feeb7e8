"""Sets the peers up and proves them: `python -m bench.peers --check`."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.machine import SERVER_CORE
from bench.peers import PEERS, Peer, PeerFailedError, PeerMissingError, installing
from bench.peers.checking import CLIENTS, EVENTS, PeerWrongError, check
from bench.peers.nchan import installed as nginx_with_nchan

_STEPS: Final[Mapping[str, Callable[[], object]]] = {
    "Python peers": installing.python,
    "Node peers": installing.node,
    "C peer": lambda: installing.compiled("send_loop.c"),
    "nginx with nchan": nginx_with_nchan,
}


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--set-up", action="store_true", help="install what the peers need")
    what.add_argument("--check", action="store_true", help="see each peer deliver every event")
    what.add_argument("--lock", action="store_true", help="write the locks anew")
    parser.add_argument("--upgrade", action="store_true", help="with --lock: newest versions")
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(PEERS)}")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.peers) - set(PEERS)):
        parser.error(f"unknown peers: {', '.join(unknown)}")
    if arguments.lock:
        installing.write_locks(upgrade=arguments.upgrade)
        return 0
    return _check(arguments.peers or list(PEERS)) if arguments.check else _set_up()


def _set_up() -> int:
    """Make everything ready that can be; say what cannot."""
    for name, step in _STEPS.items():
        try:
            step()
        except PeerMissingError as error:
            print(f"{name}: skipped: {error}")
        else:
            print(f"{name}: ready")
    return 0


def _check(names: Sequence[str]) -> int:
    """Prove one peer after the other; return 1 if one is wrong."""
    failed = 0
    for name in names:
        try:
            with PEERS[name](SERVER_CORE) as peer:
                seconds = asyncio.run(check(peer))
            _see_ended(peer)
        except PeerMissingError as error:
            print(f"{name}: skipped: {error}")
        except (PeerFailedError, PeerWrongError, TimeoutError) as error:
            print(f"{name}: WRONG: {str(error) or 'some events did not arrive'}")
            failed = 1
        else:
            print(
                f"{name} {peer.version}: {EVENTS} events to {CLIENTS} clients"
                f" in {seconds * 1000:.0f} ms, {len(peer.pids)} process(es)"
            )
    return failed


def _see_ended(peer: Peer) -> None:
    """Find no process of a peer that was ended."""
    if left := [pid for pid in peer.pids if Path(f"/proc/{pid}").exists()]:
        raise PeerWrongError(f"processes left: {left}")


if __name__ == "__main__":
    sys.exit(main())
