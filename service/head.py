"""Checks the head of a request before anything of it is answered. Knows no connection.

What two readers could understand in two ways is refused (RFC 9112, sections 3.2, 6.1 and 11.2): a proxy in front of
this service may be the other reader.
"""

import re
from collections.abc import Sequence
from typing import TypeAlias

from service.problems import ExpectationFailed, NotParseable, NotSupported

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

_VERSIONS = frozenset({"1.0", "1.1"})
# RFC 3986, section 3.2.2, without the comma: that is what two Host headers look like once somebody has joined them.
_NAME = rb"(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+"
_AUTHORITY = re.compile(rb"(?:" + _NAME + rb"|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(?=/)", re.IGNORECASE)


def check(method: bytes, version: str, target: bytes, headers: Headers) -> None:
    """Raise Problem where a head is ambiguous, or asks for what this service never does; names are in lower case."""
    if version not in _VERSIONS:
        raise NotParseable("the request is not HTTP/1.1 or HTTP/1.0")
    if method == b"CONNECT":
        raise NotParseable("CONNECT asks for a proxy, and this service is no proxy")
    _check_target(method, target)
    found: dict[bytes, list[bytes]] = {b"host": [], b"transfer-encoding": [], b"expect": []}
    for name, value in headers:
        if name in found:
            found[name].append(value.strip(b" \t"))
    _check_host(version, found[b"host"])
    _check_coding(version, found[b"transfer-encoding"])
    if version == "1.1" and any(value.lower() != b"100-continue" for value in found[b"expect"]):
        raise ExpectationFailed


def without_offer(method: bytes, version: str, target: bytes, headers: Headers) -> bytes:
    """Write the head of a request that has been read once more, without its offer to speak another protocol."""
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode())]
    lines += [b"%b: %b" % header for header in headers if header[0] != b"upgrade"]
    return b"\r\n".join([*lines, b"", b""])


def has_body(headers: Headers) -> bool:
    """Return whether a body follows this head."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b" \t0")) for name, value in headers
    )


def path(target: bytes) -> str:
    """Return the path of a target, as far as one can be read."""
    return _ABSOLUTE.sub(b"", target, count=1).partition(b"?")[0].decode("latin-1")


def _check_target(method: bytes, target: bytes) -> None:
    if b"#" in target:
        raise NotParseable("the request's target has a fragment; leave out `#` and what follows")
    if not target.isascii():
        raise NotParseable("the request's target has characters beyond ASCII; write them as %XX")
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return
    absolute = _ABSOLUTE.match(target)
    if absolute is None or not _AUTHORITY.fullmatch(absolute[1]):
        raise NotParseable("the request's target is neither a path nor the address of one")


def _check_host(version: str, hosts: Sequence[bytes]) -> None:
    """An empty Host is what a client sends whose address names none."""
    if len(hosts) > 1 or (not hosts and version != "1.0"):
        raise NotParseable(f"the request has {len(hosts)} Host headers; send one")
    if hosts and hosts[0] and not _AUTHORITY.fullmatch(hosts[0]):
        raise NotParseable("the Host header is not a host, or a host and a port")


def _check_coding(version: str, codings: Sequence[bytes]) -> None:
    if codings and version == "1.0":
        raise NotParseable("HTTP/1.0 has no Transfer-Encoding; send Content-Length")
    tokens = [token.strip(b" \t").lower() for coding in codings for token in coding.split(b",")]
    if tokens and tokens[-1] != b"chunked":
        raise NotParseable("where the request's body ends cannot be known: the last Transfer-Encoding is not `chunked`")
    if tokens[:-1]:
        raise NotSupported("the only Transfer-Encoding that can be read is `chunked`, once")
