"""TLS of the server's gRPC: which files, checked before the server starts."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from trident.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """PEM files; with ``client_ca`` only clients that show a certificate of that authority are let in (mutual TLS).

    Raises:
        ConfigError: If a file is missing or holds something else, or the key is not the certificate's.
    """

    certificate: Path  # of the server, with those that stand between it and the authority
    key: Path  # of the certificate, not encrypted
    client_ca: Path | None = None  # None: any client

    def __post_init__(self) -> None:
        """Load the files as a server would."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            raise ConfigError(
                f"--tls-cert and --tls-key must be a PEM certificate and its key, got {self.certificate} and "
                f"{self.key} ({_reason(error)})"
            ) from error
        if self.client_ca is None:
            return
        try:
            context.load_verify_locations(self.client_ca)
        except OSError as error:
            raise ConfigError(
                f"--tls-client-ca must be a PEM file of certificates, got {self.client_ca} ({_reason(error)})"
            ) from error

    def options(self) -> list[str]:
        """Return the options that tritonserver takes for this."""
        options = [
            "--grpc-use-ssl=true",
            f"--grpc-server-cert={self.certificate.resolve()}",
            f"--grpc-server-key={self.key.resolve()}",
        ]
        if self.client_ca is not None:
            options += ["--grpc-use-ssl-mutual=true", f"--grpc-root-cert={self.client_ca.resolve()}"]
        return options


def tls_files(certificate: Path | None, key: Path | None, client_ca: Path | None) -> TlsFiles | None:
    """Return the files of ``trident serve --tls-cert … --tls-key …``; None where none was given.

    Raises:
        ConfigError: If one is missing beside the others, or as ``TlsFiles``.
    """
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise ConfigError("TLS needs --tls-cert and --tls-key together; --tls-client-ca alone protects nothing")
    return TlsFiles(certificate=certificate, key=key, client_ca=client_ca)


def _no_password() -> str:
    raise ValueError("the key is encrypted: tritonserver cannot ask for its password")


def _reason(error: Exception) -> str:
    """Return what is wrong, without the place in the library's source."""
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error.strerror or error).replace("_", " ").lower()
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
