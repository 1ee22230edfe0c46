"""Heads of requests and answers: what is read of them, what is passed on, and our own answers.

The body keeps its bytes; only its framing belongs to one connection and is made anew.
"""

from enum import Enum
from http import HTTPStatus

import orjson

JSON_TYPE = b"application/x-amz-json-1.0"
TEXT_TYPE = b"text/plain"

SERVICE_UNAVAILABLE = "com.amazon.coral.service#ServiceUnavailable"
INTERNAL_SERVER_ERROR = "com.amazonaws.dynamodb.v20120810#InternalServerError"
VALIDATION = "com.amazon.coral.validate#ValidationException"

JOINED_BYTES_MAX = 64 * 1024
"""Pieces are joined into one write up to this size; beyond, copying costs more than it saves."""

READS = frozenset(
    {
        b"GetItem", b"BatchGetItem", b"Query", b"Scan", b"TransactGetItems", b"GetRecords",
        b"GetShardIterator",
    }
)  # fmt: skip
"""Operations that may be asked twice, beside all that describe and list. Not the statements of
PartiQL: what they do stands in the body."""

SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})

HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate",
        b"proxy-authorization", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
"""Headers that belong to one connection. Source: RFC 9110, 7.6.1."""

_PLAIN_CONNECTION = frozenset({b"", b"keep-alive", b"close"})
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_HEAD = b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n"

CLOSE = b"connection: close\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Framing(Enum):
    """How the end of an answer is told."""

    NONE = "no body"
    LENGTH = "content-length"
    OPEN = "chunks, or the end of the connection"


class Lines:
    """The headers of one head that are passed on.

    Attributes:
        lines: As they go over the wire, in their order.
        nominated: Names that ``Connection`` declared to belong to the connection, if any.
    """

    __slots__ = ("_names", "lines", "nominated")

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self._names: list[bytes] = []
        self.nominated: set[bytes] = set()

    def add(self, lower: bytes, name: bytes, value: bytes) -> None:
        """Take one header; drop it when it belongs to the connection.

        Args:
            lower: The name in small letters.
            name: As it came.
            value: As it came.
        """
        if lower not in HOP:
            self._names.append(lower)
            self.lines.append(b"%b: %b\r\n" % (name, value))
        elif lower == b"connection" and value.lower() not in _PLAIN_CONNECTION:
            self.nominated.update(token.strip().lower() for token in value.split(b","))

    def passed(self) -> bytes:
        """Give the headers to pass on."""
        if self.nominated:
            pairs = zip(self._names, self.lines, strict=True)
            # Nothing may take the length away: without it the next hop would see another body.
            return b"".join(
                line
                for name, line in pairs
                if name not in self.nominated or name == b"content-length"
            )
        return b"".join(self.lines)


class Request:
    """A request as far as it has been read; or what the router answers in place of one.

    Attributes:
        reply: The router's own answer.
        close: No further request of the connection is answered.
        chunks: The client understands chunks.
    """

    __slots__ = (
        "_lines", "authorization", "body", "chunks", "close", "expects", "head_bytes", "method",
        "near", "operation", "origin", "region", "reply", "sized", "target", "url",
    )  # fmt: skip

    def __init__(self) -> None:
        self._lines = Lines()
        self.method = b""
        self.url = b""
        self.operation = b""
        self.target = b""
        self.authorization = b""
        self.region = b""
        self.near = b""
        self.origin = False
        self.expects = False
        self.sized = -1
        self.head_bytes = 0
        self.body: bytes | bytearray = b""
        self.close = False
        self.chunks = True
        self.reply: bytes | None = None

    def add_header(self, name: bytes, value: bytes) -> str:
        """Take one header; say what is wrong with it, if anything."""
        lower = name.lower()
        match lower:
            case b"x-amz-target":
                self.target = value
            case b"authorization":
                self.authorization = value
            case b"content-length":
                self.sized = int(value)  # The parser has made sure that it is a number.
                return ""  # Written anew, from the body that came.
            case b"transfer-encoding" if value.strip().lower() != b"chunked":
                return "the only transfer coding that is understood is chunked"
            case b"expect":
                self.expects = value.strip().lower() == b"100-continue"
                return ""  # The router answers it.
            case b"origin":
                self.origin = True
            case b"x-antipodes-region":
                self.region = value.strip()
            case b"x-antipodes-near":
                self.near = value.strip()
            case _:
                pass
        self._lines.add(lower, name, value)
        return ""

    def add_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        if not self.body:
            self.body = piece
            return
        if not isinstance(self.body, bytearray):
            self.body = bytearray(self.body)
        self.body += piece

    def is_read(self) -> bool:
        """Tell whether it may be asked twice."""
        if self.method != b"POST":
            return self.method in SAFE_METHODS
        operation = self.target.partition(b".")[2]
        return operation in READS or operation.startswith((b"Describe", b"List"))

    def wire(self) -> list[bytes | bytearray]:
        """Give what the node gets to see, as one piece when it is small."""
        length = b""
        if self.body or self.sized >= 0 or self.method not in SAFE_METHODS:
            length = b"content-length: %d\r\n" % len(self.body)
        head = b"%b %b HTTP/1.1\r\n%b%b\r\n" % (
            self.method, self.url, self._lines.passed(), length,
        )  # fmt: skip
        if len(self.body) <= JOINED_BYTES_MAX:
            return [head + self.body]
        return [head, self.body]


def print_answer(
    request: Request, status: int, body: bytes, kind: bytes = TEXT_TYPE, *, close: bool = False
) -> bytes:
    """Print an answer of the router itself."""
    origin = b"access-control-allow-origin: *\r\n" if request.origin else b""
    head = _HEAD % (
        status, _REASONS[status], kind, len(body), origin, CLOSE if close else b"",
    )  # fmt: skip
    return head if request.method == b"HEAD" else head + body


def print_error(
    request: Request, status: int, error_type: str, message: str, *, close: bool = False
) -> bytes:
    """Print an error as DynamoDB does."""
    body = orjson.dumps({"__type": error_type, "message": message})
    return print_answer(request, status, body, JSON_TYPE, close=close)
