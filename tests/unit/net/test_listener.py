"""Tests of `sseserver.net.listener`."""

import os
import socket
import ssl
from pathlib import Path

import pytest

from sseserver.config import ServerConfig
from sseserver.errors import StartError
from sseserver.net.listener import bind_http_socket, handed_over_socket, tls_context


def test_it_listens_where_it_is_told() -> None:
    """Port 0 becomes a free one; whoever connects is in the queue at once."""
    with bind_http_socket(ServerConfig(port=0)) as listener:
        host, port = listener.getsockname()
        with socket.create_connection((host, port)) as client:
            accepted, peer = listener.accept()
            accepted.close()
            assert peer == client.getsockname()

    assert "127.0.0.1" == host
    assert not listener.getblocking()


def test_a_taken_port_is_one_clear_line() -> None:
    """With a way out."""
    with bind_http_socket(ServerConfig(port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError) as refused:
            bind_http_socket(ServerConfig(port=port))

    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; try another --port" == str(
        refused.value
    )


def test_a_host_that_does_not_exist_is_one_clear_line() -> None:
    """So is a name that stands for no address."""
    with pytest.raises(StartError, match=r"^cannot listen on _:0: "):
        bind_http_socket(ServerConfig(host="_", port=0))


def test_without_a_certificate_there_is_no_tls() -> None:
    """Nor a word about it."""
    assert tls_context(ServerConfig()) is None


def test_a_certificate_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    """Whether it is missing or something else."""
    missing, other = tmp_path / "missing.pem", tmp_path / "other.pem"
    other.write_text("none")
    for path in map(str, (missing, other)):
        with pytest.raises(StartError, match=r"^cannot use the TLS certificate: ") as refused:
            tls_context(ServerConfig(tls_cert=path, tls_key=path))
        assert isinstance(refused.value.__cause__, OSError | ssl.SSLError)


# ---- a socket that is handed over -------------------------------------------------------


@pytest.mark.parametrize(
    ("pid", "count"), [("1", "1"), ("", "1"), (str(os.getpid()), "0"), (str(os.getpid()), "")]
)
def test_what_is_anothers_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, pid: str, count: str
) -> None:
    """Variables that a parent was started with reach its children too."""
    monkeypatch.setenv("LISTEN_PID", pid)
    monkeypatch.setenv("LISTEN_FDS", count)
    assert handed_over_socket() is None
    assert not {"LISTEN_PID", "LISTEN_FDS"} & os.environ.keys()


def test_more_than_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of them would it be?"""
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "2")
    with pytest.raises(StartError, match="HTTP takes one"):
        handed_over_socket()
