"""TLS towards the server: whom to trust, and who one is."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trident_client.errors import InvalidRequestError


@dataclass(frozen=True, kw_only=True)
class Tls:
    """PEM files for a server that speaks TLS; ``Tls()`` trusts the authorities that gRPC or HTTPS come with.

    Raises:
        InvalidRequestError: If a file is missing or holds something else, or only one of certificate and key is given.
    """

    ca: Path | None = None  # certificates of the authority that signed the server's
    certificate: Path | None = None  # one's own, where the server wants to know its clients (mutual TLS)
    key: Path | None = None  # of the certificate, not encrypted

    def __post_init__(self) -> None:
        """Load the files, for a clear error."""
        if (self.certificate is None) != (self.key is None):
            given = "certificate" if self.key is None else "key"
            raise InvalidRequestError(f"a client's certificate and its key go together, got the {given} only")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if self.ca is not None:
                context.load_verify_locations(self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            shown = ", ".join(str(path) for path in (self.ca, self.certificate, self.key) if path is not None)
            raise InvalidRequestError(
                f"TLS needs PEM files of certificates and their key, got {shown} ({error})"
            ) from error

    def grpc_options(self) -> dict[str, Any]:
        """Return the arguments of tritonclient's gRPC client."""
        files = {"root_certificates": self.ca, "certificate_chain": self.certificate, "private_key": self.key}
        return {"ssl": True} | {name: None if path is None else str(path) for name, path in files.items()}

    def context(self) -> ssl.SSLContext:
        """Return the context with which HTTPS is spoken."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")
