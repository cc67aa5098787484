"""Plain heads: the requests that the fast door can answer without reading them a second time.

A head is a request's line and headers as they came, with the empty line. Knows what is unusual in one; no connection.
"""

from dataclasses import dataclass

from httptools import HttpRequestParser
from starlette.types import Scope

from service import media, whole_number
from service.access import HEADER as KEY_HEADER
from service.access import Access
from service.door import Target, plain_interval, predict_target
from service.predict import TIMEOUT_HEADER, timeout_seconds
from service.problems import Problem
from service.settings import Settings
from service.tables.json import SMALL_BODY_BYTES

MAX_BYTES = 2048
_MOST_KNOWN = 4096
_HARMLESS = {b"host", b"user-agent", b"accept", b"accept-encoding", b"content-type", b"content-length", b"connection"}


@dataclass(frozen=True, slots=True)
class PlainHead:
    """What a known head says: whose prediction it asks for, in which interval, how long its body is, and its limit.

    Its key was found good by `access`, and has to be looked at again where another one is in use.
    """

    target: Target
    interval: str | None
    content_length: int
    timeout_seconds: float
    access: Access


class KnownHeads(dict[bytes, PlainHead]):
    """Every head that was found to be plain; when there are too many, all are forgotten."""

    def learn(self, head: bytes, plain: PlainHead) -> None:
        """Know this head from now on."""
        if len(self) >= _MOST_KNOWN:
            self.clear()
        self[head] = plain


def plain_head(
    head: bytes, scope: Scope, parser: HttpRequestParser, settings: Settings, access: Access
) -> PlainHead | None:
    """What the head says, by the parser that has just read it; None where there is anything unusual in it.

    The key is among its bytes: who sends the same again has sent a good one.
    """
    headers, interval = dict(scope["headers"]), plain_interval(scope["query_string"])
    length = whole_number.read(headers.get(b"content-length", b""))
    unusual = (
        not head.startswith(b"POST ")
        or not head.count(b"\n") == head.count(b"\r") == head.count(b"\r\n")  # so it ends where it seems to
        or len(headers) != len(scope["headers"])
        or not headers.keys() <= {*_HARMLESS, TIMEOUT_HEADER, KEY_HEADER}
        or parser.get_http_version() != "1.1"
        or not parser.should_keep_alive()
        or parser.should_upgrade()
        or interval is None
        or length is None
        or length > min(settings.max_body_bytes, SMALL_BODY_BYTES)
        or not media.is_json_both_ways(headers)
        or not access.admits(scope["headers"])
    )
    target = predict_target(scope["path"])
    if unusual or target is None or length is None:
        return None
    try:
        timeout = timeout_seconds(headers.get(TIMEOUT_HEADER), settings)
    except Problem:
        return None
    return PlainHead(target, interval or None, length, timeout, access)
