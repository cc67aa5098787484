"""The errors that a client can get, each with its status, and their RFC 9457 form. Knows no web framework.

Problem
├── NotParseable      400  the body is not what its Content-Type says
├── Unauthorized      401  no key, or none that is known
├── NotFound          404  no such model, version or parameter
├── MethodNotAllowed  405
├── NotAcceptable     406  nothing that the client accepts can be written
├── ReceiveTimeout    408  the request did not arrive in time
├── TooLarge          413  more bytes or rows than a limit allows
├── UnsupportedMedia  415  a Content-Type that cannot be read
├── ExpectationFailed 417  an Expect that nobody can meet
├── WrongValues       422  parseable, and wrong; `faults` say where
├── HeadTooLarge      431  more bytes of headers than the limit allows
├── Failed            500  a fault of the service; never of what a client sent
├── NotSupported      501  of a protocol's extension that there is not
├── Unavailable       503  not ready; carries Retry-After
│   └── Overloaded    503  refused: the queue is full
└── DeadlinePassed    504  not answered in the time that the client gave
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar

import orjson

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:problem-type:calibrant:"
MAX_FAULTS = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """One bad value, and why: an RFC 6901 pointer into the body, or a place of a table, a header, a query parameter."""

    pointer: str
    detail: str


def pointer(location: Iterable[int | str]) -> str:
    """The RFC 6901 pointer to a place in a JSON body; a key longer than any column's name is cut."""
    return "".join("/" + str(part)[:200].replace("~", "~0").replace("/", "~1") for part in location)


class Problem(Exception):
    """An error with an HTTP status; `detail` is for people, and repeats nothing that a client sent but column names."""

    status: ClassVar[HTTPStatus]
    kind: ClassVar[str]

    def __init__(self, detail: str, *, faults: Sequence[Fault] = (), headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = faults
        self.headers = headers or {}

    def body(self) -> bytes:
        """The problem as JSON: type, title, status, detail, and errors where there are any."""
        document: dict[str, object] = {
            "type": TYPE_PREFIX + self.kind,
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
        }
        if self.faults:
            document["errors"] = self.faults
        return orjson.dumps(document)


class NotParseable(Problem):
    """The body cannot be read as its media type."""

    status = HTTPStatus.BAD_REQUEST
    kind = "not-parseable"


class Unauthorized(Problem):
    """There is no key in the request, or none that is good for it: one answer for all of these."""

    status = HTTPStatus.UNAUTHORIZED
    kind = "unauthorized"

    def __init__(self) -> None:
        super().__init__(
            "this wants a key that is good for it: send `Authorization: Bearer KEY`",
            headers={"www-authenticate": "Bearer"},
        )


class NotFound(Problem):
    """There is nothing by that name."""

    status = HTTPStatus.NOT_FOUND
    kind = "not-found"


class MethodNotAllowed(Problem):
    """The path exists, the method does not."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    kind = "method-not-allowed"


class NotAcceptable(Problem):
    """The Accept header allows nothing that this resource has."""

    status = HTTPStatus.NOT_ACCEPTABLE
    kind = "not-acceptable"


class ReceiveTimeout(Problem):
    """The request's head or body took longer to arrive than `seconds`."""

    status = HTTPStatus.REQUEST_TIMEOUT
    kind = "receive-timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the request did not arrive within {seconds:g} seconds")


class TooLarge(Problem):
    """The request is over a limit; the detail names the limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    kind = "too-large"


class UnsupportedMedia(Problem):
    """The Content-Type or Content-Encoding is none that can be read."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    kind = "unsupported-media-type"


class ExpectationFailed(Problem):
    """The Expect header asks for something else than `100-continue`."""

    status = HTTPStatus.EXPECTATION_FAILED
    kind = "expectation-failed"

    def __init__(self) -> None:
        super().__init__("the Expect header is not `100-continue`; send that, or no Expect header")


class WrongValues(Problem):
    """The request was understood, and cannot be answered as it is."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    kind = "wrong-values"


class HeadTooLarge(Problem):
    """The request's line and headers are larger than `limit` bytes."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    kind = "head-too-large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request's headers are larger than {limit} bytes")


class Failed(Problem):
    """The service failed; its log has the trace."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    kind = "failed"


class NotSupported(Problem):
    """The request needs a part of a protocol that this service does not have."""

    status = HTTPStatus.NOT_IMPLEMENTED
    kind = "not-supported"


class Unavailable(Problem):
    """The service cannot answer this now; `retry_after` is in whole seconds."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    kind = "unavailable"

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail, headers={"retry-after": str(retry_after)})


class Overloaded(Unavailable):
    """The queue is full; `retry_after` is what its present rows will take."""

    kind = "overloaded"


class DeadlinePassed(Problem):
    """The deadline came before the answer."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    kind = "deadline-passed"
