"""Certificates for TLS tests, made by openssl: an authority, and what it signs, also expired or for another name."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Authority", "Certificate"]

CURVE: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
LOOPBACK: Final = "IP:127.0.0.1,DNS:localhost"


def openssl(*words: str | Path) -> None:
    """Run openssl."""
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key.

    Args:
        path: The certificate, PEM.
        key: Its private key, PEM.
        ca: The certificate of who signed it.
    """

    path: Path
    key: Path
    ca: Path

    def context(self) -> ssl.SSLContext:
        """Return a client's context that shows this certificate and trusts its authority."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(str(self.path), str(self.key))
        return context

    def replace_by(self, other: Certificate) -> None:
        """Put another certificate into this one's files, as a rotation does."""
        for mine, theirs in ((self.key, other.key), (self.path, other.path)):
            fresh = mine.with_suffix(".new")
            fresh.write_bytes(theirs.read_bytes())
            fresh.replace(mine)


class Authority:
    """Who signs certificates.

    Args:
        folder: Where its files lie; it is made.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        subject = ("-subj", f"/CN={folder.name}", "-days", "30")
        openssl("req", "-x509", *CURVE, "-keyout", self._key, "-out", self.certificate, *subject)

    def sign(self, name: str, names: str = LOOPBACK, days: int = 30) -> Certificate:
        """Return a new certificate.

        Args:
            name: Of its files, and the common name: what etcd takes for the user.
            names: For which hosts it stands, as openssl writes it.
            days: How long it is valid; below 0 it has expired.
        """
        made, key, request, extensions = (self.folder / f"{name}{end}" for end in (".pem", ".key", ".csr", ".ext"))
        extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        openssl("req", *CURVE, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        signed_by = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-extfile", extensions)
        openssl("x509", "-req", "-in", request, *signed_by, "-out", made, "-days", str(days))
        return Certificate(made, key, self.certificate)
