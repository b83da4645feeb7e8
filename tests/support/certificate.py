"""A self-signed certificate for `localhost`, made by openssl."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate")


class Certificate(NamedTuple):
    """The files of a certificate and its key."""

    cert: Path
    key: Path

    @property
    def settings(self) -> dict[str, str]:
        """What a server is told of it."""
        return {"server.tls_cert": str(self.cert), "server.tls_key": str(self.key)}


def make_certificate(folder: Path) -> Certificate:
    """Make one in a folder."""
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -subj /CN=localhost -addext subjectAltName=DNS:localhost"
        f" -keyout {made.key} -out {made.cert}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return made
