"""The `demo` command itself: the server with a feed inside, and what it prints."""

import os
import random
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

import msgspec

from sseserver import daemon
from sseserver.config import Config
from sseserver.demo.accounts import ADMIN, TRADERS, session_of
from sseserver.demo.feed import replayed_quotes, run_feed, simulated_quotes
from sseserver.demo.market import INSTRUMENTS, MarketSimulator
from sseserver.demo.recorded_quotes import QuotesFile

_LOOPBACK: Final = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def adapt(config: Config, *, asked_for_level: bool) -> Config:
    """Return the configuration as the demo uses it.

    Loopback is exempt from the attempt limit unless networks are configured (contract section
    4), and instead of the default level only warnings are logged, so that what is printed
    stays in sight.

    Args:
        config: As it was loaded.
        asked_for_level: Somebody wants the level it has, though it is the default.
    """
    if not config.limits.exempt_networks:
        limits = msgspec.structs.replace(config.limits, exempt_networks=_LOOPBACK)
        config = msgspec.structs.replace(config, limits=limits)
    if config.log.level == "info" and not asked_for_level:
        log = msgspec.structs.replace(config.log, level="warning")
        config = msgspec.structs.replace(config, log=log)
    return config


def serve(
    config: Config, reload: Callable[[], Config], quotes: QuotesFile | None, speed: float
) -> int:
    """Run the server with the demo's feed until it is told to stop.

    Args:
        config: Already adapted.
        reload: Returns the adapted configuration anew (SIGHUP).
        quotes: Recorded quotes to replay; None simulates a market.
        speed: Seconds of the recording in one second.

    Returns:
        The exit code.

    Raises:
        StartError: The server cannot start.
    """
    rng = random.Random()  # noqa: S311 - a market needs no secrets
    run = f"{int(time.time()):x}"

    async def feed(listening: daemon.Listening) -> None:
        def print_banner() -> None:
            sys.stdout.write(banner(listening, config, quotes, own_words()))
            sys.stdout.flush()

        market = (
            simulated_quotes(MarketSimulator(rng))
            if quotes is None
            else replayed_quotes(quotes, speed)
        )
        await run_feed(listening.ingest_path, rng, run, market, print_banner)

    return daemon.serve(config, reload=reload, feed=feed)


def own_words() -> str:
    """Return the words that start this program again from the same folder."""
    if shutil.which("sseserver") is not None:
        return "sseserver"
    script = Path(sys.argv[0])
    if script.name == "sseserver":
        return shlex.quote(os.path.relpath(script))
    return f"{shlex.quote(sys.executable)} -m sseserver"


def banner(
    listening: daemon.Listening, config: Config, quotes: QuotesFile | None, program: str
) -> str:
    """Return what to try, as lines that work when they are pasted into a shell."""
    base = f"{'https' if config.server.tls_cert else 'http'}://{_address(listening)}"
    streams = f"{base}/api/stream"
    if quotes is None:
        symbols = tuple(instrument.symbol for instrument in INSTRUMENTS)
        market = f"a simulated market of {len(symbols)} symbols"
    else:
        symbols = quotes.symbols
        market = f"{quotes.rows:,} recorded quotes of {len(symbols)} symbols"
    user = TRADERS[0]
    cookie = shlex.quote(f"{config.auth.cookie_name}={session_of(user.user_id)}")
    admin_cookie = shlex.quote(f"{config.auth.cookie_name}={session_of(ADMIN)}")
    some_prices = shlex.quote(f"{streams}/prices?symbols={','.join(symbols[:2])}")
    trading = shlex.quote(f"{streams}/trading?userId={user.user_id}")
    ingest = shlex.quote(str(Path(listening.ingest_path).absolute()))
    alert = """'{"alertId":"mine-1","level":"warning","message":"hello"}'"""
    users = ", ".join(
        f"{config.auth.cookie_name}={session_of(user_id)}"
        for user_id in (*(trader.user_id for trader in TRADERS), ADMIN)
    )
    return f"""
sseserver demo at {base}: {market}, {len(TRADERS)} users whose orders fill

Prices need no session:
  curl -N {streams}/prices
  curl -N --compressed {some_prices}
What {user.user_id} sees (positions, alerts, ai-decisions likewise):
  curl -N --cookie {cookie} {streams}/orders
  curl -N --cookie {cookie} {streams}/strategies/{user.strategy_id}
The same, to be read:
  {program} tail {trading} --cookie {cookie}
An event of your own, and one to everybody:
  {program} publish --ingest {ingest} --type alert:new --user {user.user_id} {alert}
  curl -X POST --cookie {admin_cookie} {streams}/test

Session cookies: {users}
{_warning(listening)}Ctrl-C ends it.

"""


def _address(listening: daemon.Listening) -> str:
    """Return host and port as a URL has them; a wildcard is reached over loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listening.host, listening.host)  # noqa: S104 - compared, not bound
    return f"[{host}]:{listening.port}" if ":" in host else f"{host}:{listening.port}"


def _warning(listening: daemon.Listening) -> str:
    try:
        is_local = ip_address(listening.host).is_loopback
    except ValueError:
        is_local = listening.host == "localhost"
    if is_local:
        return ""
    return "Whoever can reach this address can use these sessions: they are no secret.\n"
