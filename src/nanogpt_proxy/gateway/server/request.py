"""A request as the parser announces it, and what we demand of its head beyond the parser."""

from __future__ import annotations

import re

from nanogpt_proxy.errors import Refusal
from nanogpt_proxy.gateway import headers

HEAD_LIMIT = 64 * 1024

_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+;=:\[\]-]*")


class Request:
    """One request. Its head is complete once `head_done`; `chunks` are body bytes not yet used."""

    __slots__ = (
        "chunked",
        "chunks",
        "complete",
        "content_length",
        "dropped",
        "expects_continue",
        "fields",
        "head_done",
        "headers",
        "keep_alive",
        "method",
        "objection",
        "received",
        "refusal",
        "size",
        "target",
        "version",
    )

    def __init__(self, refusal: Refusal | None = None) -> None:
        self.method = b""
        self.target = b""
        self.version = ""
        self.headers: headers.RawHeaders = []
        self.fields: headers.Fields = {}
        """The known headers, once the head is complete."""
        self.objection: Refusal | None = None
        """Set when a header that says who is asking is ambiguous."""
        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = False
        self.expects_continue = False
        """The client waits for `100 Continue` before it sends the body."""
        self.head_done = False
        self.complete = False
        self.dropped = False
        """The rest of the body is read and thrown away."""
        self.refusal = refusal
        """Set when the request cannot be served, whatever it asks for."""
        self.chunks: list[bytes] = []
        self.received = 0
        """Body bytes that have come so far."""
        self.size = 0
        """Bytes of the complete head."""

    @property
    def outstanding(self) -> int | None:
        """Body bytes that are still to come; `None` when nobody knows how many."""
        if self.complete:
            return 0
        if self.content_length is None:
            return None
        return self.content_length - self.received

    def take(self) -> list[bytes]:
        """The body bytes that came since the last call."""
        chunks, self.chunks = self.chunks, []
        return chunks

    def judge(self, names: headers.Names = headers.NAMES) -> None:
        """Reads a complete head: `fields`, and what they say of the framing.

        llhttp lets HTTP/0.9, a missing Host, and codings before `chunked` pass. Any of them could
        make two parsers disagree on where a request ends (RFC 9112, 6.3 and 11.2): `refusal`.
        """
        try:
            self.fields = fields = headers.read(self.headers, names)
        except Refusal as objection:
            self.objection = objection
            self.fields = fields = headers.read(self.headers, names, guard=False)
        length = fields.get(b"content-length")
        if length is not None:
            self.content_length = int(length)
        self.chunked = b"transfer-encoding" in fields
        self.expects_continue = b"expect" in fields and self.version == "1.1"
        if self.refusal is None:
            self.refusal = self._fault(fields)

    def _fault(self, fields: headers.Fields) -> Refusal | None:
        if self.size > HEAD_LIMIT:
            return head_too_large()
        host = fields.get(b"host")
        if self.version != "1.1":
            if self.version != "1.0":
                return bad_request("The request must be HTTP/1.1 or HTTP/1.0.")
            host = host or b"localhost"  # HTTP/1.0 knows no Host header
            if self.chunked:
                return bad_request("HTTP/1.0 knows no transfer codings.")
        if host is None or _HOST.fullmatch(host) is None:
            return bad_request("The request must have exactly one Host header, with a host name.")
        if self.chunked and fields[b"transfer-encoding"].lower() != b"chunked":
            return bad_request("The only transfer coding that is understood is chunked, once.")
        if b"expect" in fields and fields[b"expect"].lower() != b"100-continue":
            return Refusal(
                417, "expectation_failed", "The only expectation that is met is 100-continue."
            )
        return None


def bad_request(message: str) -> Refusal:
    return Refusal(400, "invalid_request", message)


def head_too_large() -> Refusal:
    return Refusal(
        431,
        "request_head_too_large",
        f"The request line and headers together must stay under {HEAD_LIMIT // 1024} KiB.",
    )


def no_upgrade() -> Refusal:
    return Refusal(
        404,
        "no_realtime",
        "There is no WebSocket or other upgrade here: NanoGPT has no realtime endpoint; "
        "use POST /v1/chat/completions with stream=true.",
        kind="not_found_error",
    )
