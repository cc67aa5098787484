"""Writes a zip file as torch writes archives, and on request with lies in it."""

import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Final

_HEAD = ("version", "flags", "method", "time", "date")
_SUMS = ("crc", "packed", "size")
_PLACE = ("disk", "directory_disk", "here", "members", "size", "offset")

# The records of such a file, each with its layout and its fields.
RECORDS: Final = {
    "local": ("<4s5H3L2H", ("signature", *_HEAD, *_SUMS, "name", "extra")),
    "descriptor": ("<4s3L", ("signature", *_SUMS)),
    "entry": (
        "<4s6H3L5H2L",
        ("signature", "made", *_HEAD, *_SUMS, "name", "extra", "comment", "disk", "attributes", "system", "offset"),
    ),
    "end64": ("<4sQ2H2L4Q", ("signature", "record", "made", "version", *_PLACE)),
    "locator": ("<4sLQL", ("signature", "disk", "offset", "disks")),
    "end": ("<4s4H2LH", ("signature", *_PLACE, "comment")),
}

Lies = Mapping[tuple[str, str], int | bytes]


def record(kind: str, values: Iterable[int | bytes], lies: Lies) -> bytes:
    """Return the record with these values, some of which are replaced by lies."""
    layout, fields = RECORDS[kind]
    told = [lies.get((kind, field), value) for field, value in zip(fields, values, strict=True)]
    return struct.pack(layout, *told)


def packed(
    contents: Mapping[str, bytes] | Iterable[tuple[str, bytes]],
    compressed: str = "",
    lies: Lies | None = None,
    of: str = "",
) -> bytes:
    """Return an archive of these members, of which one may be compressed; the lies are told of the member `of`."""
    lies = lies or {}
    file, directory, count = b"", b"", 0
    for name, content in contents.items() if isinstance(contents, Mapping) else contents:
        member, entry = _member(len(file), name, content, deflate=name == compressed, lies=lies if name == of else {})
        file, directory, count = file + member, directory + entry, count + 1
    size, offset = len(directory), len(file)
    end64 = record("end64", [b"PK\6\6", 44, 0x031E, 45, 0, 0, count, count, size, offset], lies)
    locator = record("locator", [b"PK\6\7", 0, offset + size, 1], lies)
    return file + directory + end64 + locator + record("end", [b"PK\5\6", 0, 0, count, count, size, offset, 0], lies)


def _member(offset: int, name: str, content: bytes, *, deflate: bool, lies: Lies) -> tuple[bytes, bytes]:
    """Return the member and its entry in the directory."""
    data = deflated(content) if deflate else content
    version, method = (20, 8) if deflate else (0, 0)
    flags, sums, named = (0x0808 if content else 0x0800), [zlib.crc32(content), len(data), len(content)], name.encode()
    padding = -(offset + 30 + len(named) + 4) % 64
    local = record("local", [b"PK\3\4", version, flags, method, 0, 0, 0, 0, 0, len(named), padding + 4], lies)
    descriptor = record("descriptor", [b"PK\7\x08", *sums], lies) if content else b""
    head: list[int | bytes] = [b"PK\1\2", 0, version, flags, method, 0, 0, *sums, len(named)]
    extra = b"FB" + struct.pack("<H", padding) + padding * b"Z"
    return (
        local + named + extra + data + descriptor,
        record("entry", [*head, 0, 0, 0, 0, 0, offset], lies) + named,
    )


def deflated(content: bytes) -> bytes:
    """Return the content compressed, without a header."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(content) + deflater.flush()
