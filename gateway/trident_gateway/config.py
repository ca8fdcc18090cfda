"""What a gateway is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field

from trident_client import Behaviour, Tls


@dataclass(frozen=True, kw_only=True)
class GatewayConfig:
    """Where the server is, and who may ask how much.

    Attributes:
        url: Of the server, as ``AsyncSearchClient`` takes it.
        timeout_s: Seconds to wait for an answer of the server.
        tls: Towards the server.
        behaviour: Of the client inside.
        api_key: What callers must send, as ``Authorization: Bearer ...`` or ``X-API-Key``; None: nothing.
        origins: Web origins whose pages may call; none by default.
        max_body_bytes: Of a request.
        max_texts: Of a request for embeddings.
        page: Whether people find a page at ``/``.
        other_url: Of another server, which the page compares with; None: none.

    Raises:
        ValueError: If a value breaks a rule.
    """

    url: str = "127.0.0.1:8001"
    timeout_s: float = 10.0
    tls: Tls | None = None
    behaviour: Behaviour = field(default_factory=Behaviour)
    api_key: str | None = field(default=None, repr=False)
    origins: tuple[str, ...] = ()
    max_body_bytes: int = 4 * 2**20
    max_texts: int = 2048
    page: bool = False
    other_url: str | None = None

    def __post_init__(self) -> None:
        """Check the rules."""
        if self.other_url is not None and not self.page:
            raise ValueError("another server is compared with on the page: other_url needs page")
        if self.api_key is not None and (not self.api_key.isascii() or len(self.api_key) < 16 or " " in self.api_key):
            raise ValueError("an API key must be 16 characters of ASCII or more, without blanks; got something else")
        for origin in self.origins:
            if not origin.startswith(("http://", "https://")) or origin.endswith("/"):
                raise ValueError(f"an origin must be such as https://shop.example without a path, got {origin!r}")
