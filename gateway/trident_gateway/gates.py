"""What stands before every request: the size of its body, and the key of who sends it."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trident_gateway.errors import refusal

OPEN = ("/healthz",)  # a load balancer has no key
PAGE = ("/", "/page/")  # nor has a browser that is shown the page, which then asks for it


class SizeGate:
    """Refuses bodies that are too large, said or not, without reading them to their end."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        """Stand before an app."""
        self._app = app
        self._most = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = Headers(scope=scope).get("content-length", "0")
        if not said.isascii() or not said.isdigit() or int(said) > self._most:
            await self._refuse(scope, receive, send)
            return
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return  # whoever asked has gone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
            if size > self._most:
                await self._refuse(scope, receive, send)
                return
        whole: list[Message] = [{"type": "http.request", "body": b"".join(parts), "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        said = f"a request must have at most {self._most:,} bytes, got more: send fewer texts at a time"
        await refusal(413, said)(scope, receive, send)


class KeyGate:
    """Refuses who does not send the key."""

    def __init__(self, app: ASGIApp, *, api_key: str) -> None:
        """Stand before an app."""
        self._app = app
        self._key = api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        path = scope.get("path", "")
        if scope["type"] == "http" and path not in OPEN and path != PAGE[0] and not path.startswith(PAGE[1]):
            headers = Headers(scope=scope)
            scheme, _, token = headers.get("authorization", "").partition(" ")
            sent = headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else "")
            if not hmac.compare_digest(sent.encode("utf-8", "replace"), self._key):
                said = "an API key is needed, as Authorization: Bearer KEY or X-API-Key: KEY; got none, or another one"
                await refusal(401, said, "authentication_error")(scope, receive, send)
                return
        await self._app(scope, receive, send)
