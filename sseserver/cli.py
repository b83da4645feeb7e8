"""The program: from the command line to a command and its exit code.

Commands are imported when they run, so that none waits for what only another one needs.

Exit codes (contract section 1): 0 after a drain or when all went well; 2 for bad arguments, bad
configuration and what protected mode refuses; 1 for anything else.
"""

# ruff: noqa: PLC0415 - commands are imported when they run, see above

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import TextIOWrapper
from typing import TYPE_CHECKING, Final

from sseserver.arguments import parse
from sseserver.errors import ConfigError, SseServerError

if TYPE_CHECKING:
    from sseserver.config import Config

_FLAGS: Final = {
    "host": "server.host",
    "port": "server.port",
    "ingest": "ingest.path",
    "log_level": "log.level",
}
"""Options of `serve` and the configuration keys they override."""

_LOG_LEVEL_VARIABLE: Final = "SSESERVER__LOG__LEVEL"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    Args:
        arguments: Without the program's name; None takes them from the process.

    Raises:
        SystemExit: `--help` or `--version` was asked for, or an argument is wrong.

    Source: contract section 1.
    """
    parsed = parse(arguments)
    # Text of a peer may hold what the terminal's encoding lacks; never fail over it.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _COMMANDS[parsed.command](parsed)
    except ConfigError as error:
        for problem in error.problems:
            _complain(str(problem))
        return 2
    except SseServerError as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 1
    except BrokenPipeError:
        # The reader had enough (`| head`). What the interpreter flushes at exit must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _complain(text: str) -> None:
    sys.stderr.write(f"sseserver: {text}\n")


def _load_config(arguments: Namespace) -> "Config":
    """Return the configuration of `serve` and `demo`.

    Raises:
        ConfigError: It has problems, or protected mode refuses it.
    """
    from sseserver import config_loading

    flags = {key: getattr(arguments, option) for option, key in _FLAGS.items()}
    loaded = config_loading.load(arguments.config, os.environ, flags)
    refusals = config_loading.start_refusals(loaded)
    if refusals:
        raise ConfigError(refusals)
    return loaded


def _serve(arguments: Namespace) -> int:
    from sseserver import daemon, logs

    config = _load_config(arguments)
    logs.configure(config.log.level, config.log.format, sys.stdout)
    return daemon.serve(config, reload=partial(_load_config, arguments))


def _demo(arguments: Namespace) -> int:
    from sseserver import logs
    from sseserver.demo import command, recorded_quotes

    asked_for_level = arguments.log_level is not None or _LOG_LEVEL_VARIABLE in os.environ

    def load() -> "Config":
        return command.adapt(_load_config(arguments), asked_for_level=asked_for_level)

    config = load()
    quotes = None if arguments.quotes is None else recorded_quotes.check_quotes(arguments.quotes)
    logs.configure(config.log.level, config.log.format, sys.stdout)
    return command.serve(config, load, quotes, arguments.speed)


def _publish(arguments: Namespace) -> int:
    from sseserver import config_loading
    from sseserver.client import publish

    if arguments.user is not None and arguments.type is None:
        arguments.refuse("--user needs --type: a full message names its user itself")
    text: str | None = arguments.json
    # Python has no standard input at all where the caller closed it.
    if text in {None, "-"} and (sys.stdin is None or (text is None and sys.stdin.isatty())):
        arguments.refuse("give the event as JSON, or - to type lines")
    if text is not None and not text.strip():
        arguments.refuse("JSON is empty")
    path = config_loading.load(None, os.environ, {"ingest.path": arguments.ingest}).ingest.path
    return publish.run(path, None if text == "-" else text, arguments.type, arguments.user)


def _tail(arguments: Namespace) -> int:
    from sseserver.client import tail

    return tail.run(
        tail.Options(arguments.url, arguments.cookie, arguments.last_event_id, arguments.json)
    )


def _check_config(arguments: Namespace) -> int:
    from sseserver import config_loading

    # The file alone: what the environment of this terminal says is not its fault.
    refusals = config_loading.start_refusals(config_loading.load(arguments.file, {}, {}))
    if refusals:
        raise ConfigError(refusals)
    sys.stdout.write(f"{arguments.file}: no problems\n")
    return 0


_COMMANDS: Final[Mapping[str, Callable[[Namespace], int]]] = {
    "serve": _serve,
    "demo": _demo,
    "publish": _publish,
    "tail": _tail,
    "check-config": _check_config,
}
