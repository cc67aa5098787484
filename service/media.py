"""Content-Type and Accept: what a body is, and which form of an answer its client takes (RFC 9110, section 12.5)."""

from collections.abc import Sequence

from service.problems import NotAcceptable, UnsupportedMedia

JSON = "application/json"
BYTES = "application/octet-stream"
_JSON = JSON.encode()
SAFETENSORS = "application/vnd.safetensors"


def check_json(content_type: bytes | None, content_encoding: bytes | None) -> None:
    """Raise UnsupportedMedia unless the body is said to be JSON, and not compressed."""
    if content_type != _JSON and (content_type or b"").partition(b";")[0].strip().lower() != _JSON:
        raise UnsupportedMedia(f"send the body with `Content-Type: {JSON}`", headers={"accept-post": JSON})
    check_not_compressed(content_encoding)


def check_not_compressed(content_encoding: bytes | None) -> None:
    """Raise UnsupportedMedia where the body is compressed."""
    if content_encoding and content_encoding.strip().lower() != b"identity":
        raise UnsupportedMedia("the body is compressed; send it as it is", headers={"accept-encoding": "identity"})


def negotiate(accept: bytes | None, offered: Sequence[str]) -> str:
    """The offered media type that the client likes best, the first of equals; raises NotAcceptable."""
    if not accept or accept == b"*/*":
        return offered[0]
    ranges = [_range(part) for part in accept.decode("latin-1").split(",")]
    best = max(offered, key=lambda media: _quality(media, ranges))
    if _quality(best, ranges) <= 0:
        raise NotAcceptable(f"this can be had as {' or '.join(offered)}")
    return best


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, float(parameter[2:])
            except ValueError:
                return name, 0.0
    return name, 1.0


def _quality(media: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The quality of the most specific range that covers `media`."""
    for pattern in (media, media.partition("/")[0] + "/*", "*/*"):
        for name, quality in ranges:
            if name == pattern:
                return quality
    return 0.0
