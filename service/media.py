"""Content-Type and Accept: what a body is, and which form of an answer its client takes (RFC 9110, section 12.5)."""

import re
from collections.abc import Mapping, Sequence

from service.problems import NotAcceptable, UnsupportedMedia

JSON = "application/json"
CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
# The forms of a table, the one that is given where the client does not care first.
TABLES = (JSON, CSV, ARROW)
HTML = "text/html"
BYTES = "application/octet-stream"
SAFETENSORS = "application/vnd.safetensors"
_ANY = b"*/*"
# RFC 9110, section 12.4.2: a weight.
_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", re.ASCII)
_JSON = JSON.encode()


def body_form(content_type: bytes | None, content_encoding: bytes | None) -> str:
    """Which of TABLES the body is said to be; raises UnsupportedMedia for another, and for a compressed one."""
    name, *parameters = (part.strip().lower() for part in (content_type or b"").decode("latin-1").split(";"))
    if name not in TABLES:
        accepted = ", ".join(TABLES)
        raise UnsupportedMedia(f"send the body with a `Content-Type` of {accepted}", headers={"accept-post": accepted})
    if name == CSV and any(not _is_utf8(parameter) for parameter in parameters if parameter.startswith("charset=")):
        raise UnsupportedMedia("send CSV as UTF-8", headers={"accept-post": CSV + "; charset=utf-8"})
    check_not_compressed(content_encoding)
    return name


def check_not_compressed(content_encoding: bytes | None) -> None:
    """Raise UnsupportedMedia where the body is compressed."""
    if content_encoding and content_encoding.strip().lower() != b"identity":
        raise UnsupportedMedia("the body is compressed; send it as it is", headers={"accept-encoding": "identity"})


def is_json_both_ways(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the body is said to be JSON, and the answer is to be."""
    content_type, accept = headers.get(b"content-type"), headers.get(b"accept", _ANY)
    if content_type == _JSON and accept in {_ANY, _JSON} and b"content-encoding" not in headers:
        return True  # as nearly always
    try:
        sent = body_form(content_type, headers.get(b"content-encoding"))
        return sent == JSON and negotiate(accept, TABLES) == JSON
    except (UnsupportedMedia, NotAcceptable):
        return False


def negotiate(accept: bytes | None, offered: Sequence[str]) -> str:
    """The offered media type that the client likes best, the first of equals; raises NotAcceptable."""
    if not accept or accept == _ANY:
        return offered[0]
    ranges = [_range(part) for part in accept.decode("latin-1").split(",")]
    best = max(offered, key=lambda media: _quality(media, ranges))
    if _quality(best, ranges) <= 0:
        raise NotAcceptable(f"this can be had as {' or '.join(offered)}")
    return best


def prefers_html(accept: bytes | None) -> bool:
    """Whether a page is what the client likes best, as a browser does that was sent somewhere."""
    try:
        return negotiate(accept, (JSON, HTML)) == HTML
    except NotAcceptable:
        return False


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            return name, float(parameter[2:]) if _QUALITY.fullmatch(parameter[2:]) else 0.0
    return name, 1.0


def _quality(media: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The quality of the most specific range that covers `media`."""
    for pattern in (media, media.partition("/")[0] + "/*", "*/*"):
        for name, quality in ranges:
            if name == pattern:
                return quality
    return 0.0


def _is_utf8(charset: str) -> bool:
    return charset.partition("=")[2].strip(' "') in {"utf-8", "utf8", "us-ascii"}
