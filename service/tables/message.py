"""The head of an Arrow message, as far as it must be known before the message is decoded. Knows no pyarrow.

It is a flatbuffer after Message.fbs, https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format
"""

import struct

from service.problems import NotParseable, WrongValues

_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
# How it was said before the format had a word for it.
_COMPRESSED_OF_OLD = b"ARROW:experimental_compression"


def check_message(head: bytes) -> None:
    """Raise WrongValues for what can grow without end: compressed buffers, and dictionaries that grow by deltas."""
    try:
        compressed, delta = _flags(head)
    except (struct.error, IndexError):
        raise NotParseable("the body is not an Arrow IPC stream: a message's head cannot be read") from None
    if compressed:
        raise WrongValues("the stream's buffers are compressed; write it without compression")
    if delta:
        raise WrongValues("the stream has delta dictionaries; write it with whole ones")


def _flags(head: bytes) -> tuple[bool, bool]:
    """Whether a message is compressed, and whether it is a delta dictionary."""
    message = _follow(head, 0)
    kind, body = _field(head, message, 1), _field(head, message, 2)
    if kind is None or body is None or head[kind] not in {_DICTIONARY_BATCH, _RECORD_BATCH}:
        return False, False
    batch = _follow(head, body)
    delta = None
    if head[kind] == _DICTIONARY_BATCH:
        delta, data = _field(head, batch, 2), _field(head, batch, 1)
        batch = batch if data is None else _follow(head, data)
    compressed = _field(head, batch, 3) is not None or _COMPRESSED_OF_OLD in head
    return compressed, delta is not None and head[delta] != 0


def _field(buffer: bytes, table: int, index: int) -> int | None:
    """Where a flatbuffer's table has this field; None where it has its default."""
    fields = table - int(struct.unpack_from("<i", buffer, table)[0])
    size, at = struct.unpack_from("<H", buffer, fields)[0], 4 + 2 * index
    offset = struct.unpack_from("<H", buffer, fields + at)[0] if at < size else 0
    return table + offset if offset else None


def _follow(buffer: bytes, at: int) -> int:
    return at + int(struct.unpack_from("<I", buffer, at)[0])
