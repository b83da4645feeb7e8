"""Where clients connect: the TCP socket, bound or handed over, and TLS on it."""

import os
import socket
import ssl
from typing import Final

from sseserver.config import ServerConfig
from sseserver.errors import StartError
from sseserver.net.socket_options import set_client_options

LISTEN_BACKLOG: Final = 4096

_FIRST_HANDED_OVER: Final = 3
_HAND_OVER_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def handed_over_socket() -> socket.socket | None:
    """Return the listening socket of a service manager, which outlives this process.

    Who connects while nobody accepts waits in it, so a restart refuses no connection. It says
    to whom it hands over by process ID; what stands in the environment of another is not ours.

    Raises:
        StartError: What was handed over is not for this.

    Source: sd_listen_fds(3).
    """
    pid, count, _ = (os.environ.pop(name, "") for name in _HAND_OVER_VARIABLES)
    if pid != str(os.getpid()) or count in {"", "0"}:
        return None
    if count != "1":
        raise StartError(f"cannot use {count} handed-over sockets: HTTP takes one")
    try:
        listener = socket.socket(fileno=_FIRST_HANDED_OVER)
    except OSError as error:
        raise StartError(f"cannot use the handed-over socket: {error}") from error
    is_tcp = listener.family in {socket.AF_INET, socket.AF_INET6}
    if not is_tcp or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.close()
        raise StartError("cannot use the handed-over socket: it is no listening TCP socket")
    set_client_options(listener)
    listener.set_inheritable(False)
    listener.setblocking(False)  # noqa: FBT003
    return listener


def bind_http_socket(server: ServerConfig) -> socket.socket:
    """Return a listening socket on the configured address.

    Raises:
        StartError: The address is unknown or taken.
    """
    host, port = server.host, server.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        set_client_options(listener)
        listener.bind(address)
        listener.listen(LISTEN_BACKLOG)
    except OSError as error:
        listener.close()
        words = error.strerror or str(error)
        raise StartError(f"cannot listen on {host}:{port}: {words}; try another --port") from error
    listener.setblocking(False)  # noqa: FBT003 - the socket module's signature
    return listener


def tls_context(server: ServerConfig) -> ssl.SSLContext | None:
    """Return the context of `server.tls_cert`; None where there is none.

    Raises:
        StartError: Certificate or key cannot be used.
    """
    if not server.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(server.tls_cert, server.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"cannot use the TLS certificate: {error}") from error
    return context
