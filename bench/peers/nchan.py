"""nginx with nchan: the usual C server for SSE, fed by HTTP."""

import http.client
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.machine import allow_descriptors
from bench.peers.peer import Peer, PeerMissingError, stream_request
from bench.peers.processes import BACKLOG, HOST, place, running

_CONFIGURATION: Final = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile {descriptors};
load_module {module};
pid {folder}/nginx.pid;
error_log stderr warn;
{user}
events {{
    worker_connections {descriptors};
    multi_accept on;
}}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 1000000000;  # by default the feed is cut off after 1000 events
    client_max_body_size 1m;
    client_body_buffer_size 1m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {host}:{port} backlog={backlog};
        location = /events {{
            nchan_subscriber eventsource;
            nchan_channel_id prices;
            nchan_subscriber_first_message newest;
        }}
        location = /publish {{
            nchan_publisher http;
            nchan_channel_id prices;
            nchan_message_buffer_length 100;  # what sseserver keeps, too
            nchan_message_timeout 5m;
        }}
        location = /status {{
            nchan_stub_status;
        }}
    }}
}}
"""

_MAX_CONNECTIONS: Final = 32768
"""nginx allocates its connections when it starts, so not more than any bench opens."""


@contextmanager
def nchan(core: int) -> Iterator[Peer]:
    """Run nginx with nchan: one worker, memory store.

    There is no compressed variant: nchan sends its event streams past the gzip filter of nginx.
    """
    program, module, version = installed()
    with place() as where:
        configuration = where.folder / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                descriptors=min(_MAX_CONNECTIONS, allow_descriptors()),
                module=module,
                folder=where.folder,
                user="user root;" if where.folder.owner() == "root" else "",
                host=HOST,
                port=where.port,
                backlog=BACKLOG,
            ),
            encoding="utf-8",
        )
        command = [program, "-c", str(configuration), "-e", "stderr"]
        with running(command, core, where) as pids:
            yield Peer(
                "nchan",
                f"{_nchan_version(where.port)} on nginx {version}",
                HOST,
                where.port,
                stream_request(),
                f"http:{HOST}:{where.port}",
                publication,
                pids,
            )


def publication(data: bytes) -> bytes:
    """Render one event as the request that publishes it.

    nchan numbers the events itself (`id: seconds:n`) and sends no `retry:`.
    """
    head = (
        "POST /publish HTTP/1.1\r\n"
        "Host: localhost\r\n"
        "Content-Type: application/json\r\n"
        "X-EventSource-Event: price:update\r\n"
        f"Content-Length: {len(data)}\r\n"
        "\r\n"
    )
    return head.encode("ascii") + data


def installed() -> tuple[str, Path, str]:
    """Return nginx, the module of nchan and the version of nginx.

    Raises:
        PeerMissingError: One of the two is not here.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise PeerMissingError(
            "nginx with nchan is needed (Debian packages nginx-light and libnginx-mod-nchan)"
        )
    said = subprocess.run([program, "-V"], capture_output=True, check=True, text=True).stderr
    words = said.split()
    folder = next(
        (word.partition("=")[2] for word in words if word.startswith("--modules-path=")),
        "/usr/lib/nginx/modules",
    )
    module = Path(folder) / "ngx_nchan_module.so"
    if not module.exists():
        raise PeerMissingError("nchan is needed (Debian package libnginx-mod-nchan)")
    version = next(word.partition("/")[2] for word in words if word.startswith("nginx/"))
    return program, module, version


def _nchan_version(port: int) -> str:
    """Ask a running nchan for its version, which nginx does not know."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/status")
        status = connection.getresponse().read().decode("ascii")
    finally:
        connection.close()
    lines = dict(line.partition(": ")[::2] for line in status.splitlines())
    return lines["nchan version"]
