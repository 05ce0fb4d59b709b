"""One request and its response on a connection: uvicorn's cycle, with what the door adds to it."""

from __future__ import annotations

from typing import Any, Final

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from model.messages import Headers

#: A larger body is handed to the transport by itself: joining would copy it.
_JOINED_BYTES: Final = 64 * 1024


class DoorCycle(RequestResponseCycle):
    def put_whole(self, status: int, headers: Headers, body: bytes) -> bool:
        """Send a whole response in one write: `scope["extensions"]["tenantry.put_whole"]`.

        `headers` have names in lower case, nothing that would break the framing, and the body's content-length,
        unless the response can have no body; `body` is empty for HEAD. False, and nothing was sent, when
        the visitor is slow or gone: then `send` it.
        """
        if self.flow.write_paused or self.disconnected or self.response_started:
            return False
        parts = [STATUS_LINE[status]]
        for name, value in self.default_headers:
            parts += (name, b": ", value, b"\r\n")
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        transport = self.transport
        if self.keep_alive:
            parts.append(b"\r\n")
        else:
            parts.append(b"connection: close\r\n\r\n")
        if len(body) <= _JOINED_BYTES:
            parts.append(body)
            transport.write(b"".join(parts))
        else:
            transport.write(b"".join(parts))
            transport.write(body)
        self.waiting_for_100_continue = False
        self.response_started = self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            transport.close()
        self.on_response()
        # It would make a ring of scope and cycle, which only the collector could open.
        extensions: Any = self.scope["extensions"]
        del extensions["tenantry.put_whole"]
        return True


class UntilCloseCycle(DoorCycle):
    """Answers HTTP/1.0, which knows no chunks: a body of unknown length ends with the connection."""

    _unframed = False

    async def send(self, message: ASGISendEvent) -> None:
        if not self.response_started:
            headers: Any = message.get("headers", ())
            named = any(name.lower() == b"content-length" for name, _ in headers)
            if not named and self.scope["method"] != "HEAD" and message.get("status") not in (204, 304):
                self._unframed = True
                self.chunked_encoding = False
        elif self._unframed:
            body: Any = message.get("body", b"")
            self.expected_content_length = len(body)
        await super().send(message)
