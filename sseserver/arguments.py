"""What may stand on the command line: commands, options and the help texts that teach them.

Nothing is run here and nothing heavy imported, so `--help` and a wrong argument answer at once.
"""

import argparse
import sys
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from sseserver import __version__

_SUMMARIES: Final = {
    "serve": "run the server",
    "demo": "run the server with a live market and users who trade on it",
    "publish": "publish one event, or many from standard input",
    "tail": "follow a stream as a person would read it",
    "check-config": "name every problem of a configuration file",
}
"""What each command is for, in the order in which they are shown."""

# Not left to argparse, which breaks the line of a name as long as `check-config`.
_COMMAND_LIST: Final = "".join(f"  {name:<14}{summary}\n" for name, summary in _SUMMARIES.items())

_DESCRIPTION: Final = f"""\
A Server-Sent Events server for trading: feeds write events to a Unix socket, browsers and
other clients follow them over HTTP and miss nothing when they reconnect.

commands:
{_COMMAND_LIST}"""

_EPILOG: Final = """\
to see it work:
  sseserver demo                        a server with a simulated market; says what to try
  sseserver tail http://127.0.0.1:8080/api/stream/prices

to run it:
  sseserver check-config sseserver.toml
  sseserver serve --config sseserver.toml

`sseserver COMMAND --help` tells more about one command.
"""

_SERVE_EPILOG: Final = """\
Settings come from the defaults, then the file, then the environment
(SSESERVER__SERVER__PORT=9000 for server.port), then these options.
SIGTERM and SIGINT drain: every stream is told, writes are finished, exit code 0.
SIGHUP reads the configuration again.

examples:
  sseserver serve
  sseserver serve --config sseserver.toml --log-level debug
  sseserver serve --port 0 --ingest /run/sseserver/feed.sock     any free port; the log names it
"""

_DEMO_EPILOG: Final = """\
Demo users (demo-alice, demo-bob, demo-carol; demo-admin) have fixed sessions, which are
printed with lines to try. Everything else is `serve`, with loopback exempt from the limit of
connection attempts and only warnings logged unless a level is given.

examples:
  sseserver demo
  sseserver demo --port 0
  sseserver demo --quotes quotes.csv.gz --speed 10               recorded quotes, ten times as fast
"""

_PUBLISH_EPILOG: Final = """\
Prints what the server answered, a line for each event. Exit code 0 when all were accepted.

examples:
  sseserver publish --type price:update '{"symbol":"AAPL","price":187.2}'
  sseserver publish --type alert:new --user user-1 \\
      '{"alertId":"a-1","level":"info","message":"hello"}'
  sseserver publish '{"op":"session.put","sessionId":"s-1","userId":"user-1"}'
  sseserver publish - < messages.ndjson                          full messages, one a line
  jq -c .tick ticks.json | sseserver publish --type price:update     only their data
"""

_TAIL_EPILOG: Final = """\
Reconnects after a break and resumes with the last event ID. Ends with exit code 1 when the
server says that there is nothing to follow (204, 400, 401, 403, 404), with 0 on Ctrl-C.

examples:
  sseserver tail http://127.0.0.1:8080/api/stream/prices
  sseserver tail 'http://127.0.0.1:8080/api/stream/prices?symbols=AAPL,MSFT'
  sseserver tail http://127.0.0.1:8080/api/stream/orders --cookie session=demo-alice-session
  sseserver tail http://127.0.0.1:8080/api/stream/prices --json | jq .data.price
"""

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line, `command` naming the command.

    `refuse` is a function that ends the program with an argument error.

    Args:
        arguments: Without the program's name; None takes them from the process.

    Raises:
        SystemExit: `--help` or `--version` was asked for (0), or an argument is wrong or no
            command named, for which the help is printed to standard error (2).

    Source: contract section 1.
    """
    parser = argparse.ArgumentParser(
        "sseserver",
        usage="%(prog)s [-h] [--version] COMMAND ...",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"sseserver {__version__}",
        help="print the version and exit",
    )
    commands = parser.add_subparsers(
        prog=parser.prog, dest="command", metavar="COMMAND", help=argparse.SUPPRESS
    )
    for add in (_add_serve, _add_demo, _add_publish, _add_tail, _add_check_config):
        add(commands)
    parsed = parser.parse_args(arguments)
    if parsed.command is None:  # whoever does not know the commands yet is told them
        parser.print_help(sys.stderr)
        parser.exit(2)
    return parsed


def _add_command(commands: _Commands, name: str, epilog: str | None) -> argparse.ArgumentParser:
    summary = _SUMMARIES[name]
    command = commands.add_parser(
        name,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.set_defaults(refuse=command.error)
    return command


def _add_serve(commands: _Commands) -> None:
    command = _add_command(commands, "serve", _SERVE_EPILOG)
    _add_serve_options(command)


def _add_demo(commands: _Commands) -> None:
    command = _add_command(commands, "demo", _DEMO_EPILOG)
    _add_serve_options(command)
    command.add_argument(
        "--quotes",
        type=Path,
        metavar="FILE",
        help="replay recorded quotes: CSV, also gzipped, with the columns "
        "timestamp,symbol,price,bid,ask (default: simulate a market)",
    )
    command.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="X",
        help="replay at X times real time (default: 1)",
    )


def _add_serve_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=Path, metavar="FILE", help="configuration, TOML")
    command.add_argument("--host", metavar="H", help="address to listen on (server.host)")
    command.add_argument(
        "--port", type=int, metavar="P", help="port to listen on, 0 for any free one (server.port)"
    )
    command.add_argument(
        "--ingest", metavar="PATH", help="Unix socket that feeds write to (ingest.path)"
    )
    command.add_argument(
        "--log-level", metavar="L", help="debug, info, warning or error (log.level)"
    )


def _add_publish(commands: _Commands) -> None:
    command = _add_command(commands, "publish", _PUBLISH_EPILOG)
    command.add_argument(
        "--ingest",
        metavar="PATH",
        help="the server's Unix socket (default: ingest.path, sseserver.sock unless configured "
        "in the environment)",
    )
    command.add_argument(
        "--type", metavar="T", help="event type; JSON is then the event's data alone"
    )
    command.add_argument("--user", metavar="U", help="whose event it is; together with --type")
    command.add_argument(
        "json",
        nargs="?",
        metavar="JSON",
        help="one message or event; - or nothing reads one a line from standard input",
    )


def _add_tail(commands: _Commands) -> None:
    command = _add_command(commands, "tail", _TAIL_EPILOG)
    command.add_argument("url", type=_stream_url, metavar="URL", help="an http or https URL")
    command.add_argument(
        "--cookie", type=_cookie, metavar="NAME=VALUE", help="session cookie to send"
    )
    command.add_argument(
        "--last-event-id",
        type=_header_value,
        metavar="ID",
        help="resume after this event, as a browser would after a break",
    )
    command.add_argument(
        "--json",
        action="store_true",
        help="one JSON object for each event: event, id, retry, data",
    )


def _add_check_config(commands: _Commands) -> None:
    command = _add_command(commands, "check-config", None)
    command.add_argument("file", type=Path, metavar="FILE", help="configuration, TOML")


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _header_value(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        raise argparse.ArgumentTypeError("only printable ASCII can be sent in a header")
    return text


def _cookie(text: str) -> str:
    name, equals, _ = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return _header_value(text)


def _stream_url(text: str) -> str:
    try:
        url = urlsplit(text)
        is_usable = url.scheme in {"http", "https"} and url.hostname and url.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        is_usable = False
    if not (is_usable and text.isprintable()):
        raise argparse.ArgumentTypeError(f"{text!r} is not an http or https URL")
    return text
