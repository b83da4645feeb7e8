"""Tests for `sseserver.arguments`."""

import re
from pathlib import Path
from typing import Any

import pytest

import sseserver
from sseserver.arguments import parse

COMMANDS = ["serve", "demo", "publish", "tail", "check-config"]
URL = "http://127.0.0.1:8080/api/stream/prices"


def options(*arguments: str) -> dict[str, Any]:
    """Return what was parsed, without the function that refuses."""
    parsed = vars(parse(arguments))
    assert callable(parsed.pop("refuse"))
    return parsed


SERVE = {"config": None, "host": None, "port": None, "ingest": None, "log_level": None}
PUBLISH = {"command": "publish", "ingest": None, "type": None, "user": None, "json": None}
TAIL = {"command": "tail", "url": URL, "cookie": None, "last_event_id": None, "json": False}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("serve", SERVE | {"command": "serve"}),
        (
            "serve --config c.toml --host ::1 --port 0 --ingest i.sock --log-level debug",
            {
                "command": "serve",
                "config": Path("c.toml"),
                "host": "::1",
                "port": 0,
                "ingest": "i.sock",
                "log_level": "debug",
            },
        ),
        ("demo", SERVE | {"command": "demo", "quotes": None, "speed": 1.0}),
        (
            "demo --port 1 --quotes q.csv.gz --speed 0.5",
            SERVE | {"command": "demo", "port": 1, "quotes": Path("q.csv.gz"), "speed": 0.5},
        ),
        ("publish", PUBLISH),
        ("publish -", PUBLISH | {"json": "-"}),
        (
            "publish --ingest i.sock --type t --user u {}",
            PUBLISH | {"ingest": "i.sock", "type": "t", "user": "u", "json": "{}"},
        ),
        (f"tail {URL}", TAIL),
        (
            f"tail {URL} --cookie session=s-1 --last-event-id 1-abc --json",
            TAIL | {"cookie": "session=s-1", "last_event_id": "1-abc", "json": True},
        ),
        ("check-config c.toml", {"command": "check-config", "file": Path("c.toml")}),
    ],
)
def test_the_contracts_options_are_understood(line: str, expected: dict[str, Any]) -> None:
    """Every option of contract section 1, and None where one is left out."""
    assert expected == options(*line.split())


@pytest.mark.parametrize(
    "url",
    ["https://example.com", "http://[::1]:80/a?b=c", "http://user@host/", "HTTP://host"],
)
def test_http_urls_are_taken(url: str) -> None:
    """Both schemes, any host, any case."""
    assert url == options("tail", url)["url"]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the last line of an argument error."""
    with pytest.raises(SystemExit) as raised:
        parse(arguments)
    assert raised.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8080/api/stream/prices",
        "file:///etc/passwd",
        "ftp://host/",
        "http://",
        "http:///path",
        "http://host:port/",
        "http://host:0/",
        "http://host:70000/",
        "http://[::1/",
        "http://host/\x1b",
        "",
    ],
)
def test_other_urls_are_refused(capsys: pytest.CaptureFixture[str], url: str) -> None:
    """Only http and https URLs with a host can be followed."""
    text = refusal(capsys, "tail", url)

    assert f"argument URL: {url!r} is not an http or https URL" in text


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "fast"])
def test_a_speed_is_a_number_above_0(capsys: pytest.CaptureFixture[str], speed: str) -> None:
    """A replay goes forward, and not infinitely fast."""
    text = refusal(capsys, "demo", f"--speed={speed}")

    assert text == f"sseserver demo: error: argument --speed: '{speed}' is not a number above 0"


@pytest.mark.parametrize("cookie", ["session", "=value", ""])
def test_a_cookie_has_a_name_and_a_value(capsys: pytest.CaptureFixture[str], cookie: str) -> None:
    """What is not NAME=VALUE is refused before it is sent."""
    assert refusal(capsys, "tail", URL, "--cookie", cookie).endswith(
        f"argument --cookie: {cookie!r} is not NAME=VALUE"
    )


@pytest.mark.parametrize("value", ["a=b\r\nX: y", "a=\xe9", "a=\x00"])
@pytest.mark.parametrize("option", ["--cookie", "--last-event-id"])
def test_a_header_cannot_be_split(
    capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    """Nothing but printable ASCII goes into a header."""
    assert refusal(capsys, "tail", URL, option, value).endswith(
        f"argument {option}: only printable ASCII can be sent in a header"
    )


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("run", "sseserver: error: argument COMMAND: invalid choice: 'run'"),
        ("serve --port many", "sseserver serve: error: argument --port: invalid int value: 'many'"),
        ("serve --quotes q.csv", "sseserver: error: unrecognized arguments: --quotes q.csv"),
        ("serve --conf c.toml", "sseserver: error: unrecognized arguments: --conf c.toml"),
        ("tail", "sseserver tail: error: the following arguments are required: URL"),
        ("check-config", "sseserver check-config: error: the following arguments are required"),
    ],
)
def test_wrong_arguments_are_refused(
    capsys: pytest.CaptureFixture[str], line: str, error: str
) -> None:
    """Unknown commands and options (abbreviations too), and what is missing: exit code 2."""
    assert refusal(capsys, *line.split()).startswith(error)


def test_a_command_can_refuse_what_only_it_can_judge(capsys: pytest.CaptureFixture[str]) -> None:
    """`refuse` ends the program as any argument error does."""
    refuse = parse(["publish"]).refuse
    with pytest.raises(SystemExit) as raised:
        refuse("no JSON")

    assert raised.value.code == 2
    assert capsys.readouterr().err.endswith("sseserver publish: error: no JSON\n")


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what is printed instead of running anything."""
    with pytest.raises(SystemExit) as raised:
        parse(arguments)
    assert raised.value.code == 0
    return capsys.readouterr().out


def commands_in(text: str) -> str:
    """Return the list of commands in a help text."""
    return text.partition("\ncommands:\n")[2].partition("\n\n")[0]


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The distribution's version, under the program's name."""
    assert f"sseserver {sseserver.__version__}\n" == shown(capsys, "--version")


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """With a line on what each is for."""
    text = shown(capsys, "--help")

    assert COMMANDS == re.findall(r"^  ([a-z-]+) +[a-z ,]+$", commands_in(text), re.MULTILINE)


def test_without_a_command_the_commands_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Who types the name alone sees what there is, on standard error, with exit code 2."""
    with pytest.raises(SystemExit) as raised:
        parse([])
    out, err = capsys.readouterr()

    assert (2, "", shown(capsys, "--help")) == (raised.value.code, out, err)


def test_every_command_begins_its_help_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The list of commands and each command's own help say the same of it."""
    lines = commands_in(shown(capsys, "--help")).splitlines()

    for line in lines:
        command, summary = line.split(maxsplit=1)
        assert f"\n\n{summary[0].upper()}{summary[1:]}.\n\n" in shown(capsys, command, "--help")


@pytest.mark.parametrize("command", ["", *COMMANDS[:4]])
def test_every_example_of_the_help_can_be_parsed(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """What help texts show works, as far as arguments go."""
    text = shown(capsys, *command.split(), "--help").replace("\\\n", "")
    examples = re.findall(r"^  (?:.* \| )?sseserver (.*?)(?:   .*| [<|] .*)?$", text, re.MULTILINE)

    assert len(examples) >= 2
    for example in examples:
        words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", example)]
        assert options(*words)["command"] in COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """No option and no argument stands without a word on it, and lines fit a terminal."""
    text = shown(capsys, command, "--help")
    _, _, body = text.partition("\n\n")

    assert re.findall(r"^  (-\S+|[A-Z]+)( \S+)?\n(?! {10})", body, re.MULTILINE) == []
    assert max(map(len, text.splitlines())) <= 100
