"""Changes an archive as no writer would: each one says of itself what is not true, or is no whole archive."""

import random
import re
import struct
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from zips import RECORDS, packed

OBJECTS: Final = "archive/data.pkl"
_NUMBERS = (0, 1, 8, 0x08, 0x7FFF, 0xFFFF)

Contents: TypeAlias = Mapping[str, bytes]
Change: TypeAlias = Callable[[random.Random, Contents], bytes]


def misstated(chance: random.Random, contents: Contents) -> bytes:
    """One field of a header, of the directory or of an end record is another number."""
    kind = chance.choice(list(RECORDS))
    field = chance.choice(RECORDS[kind][1][1:])
    lie = chance.choice([*_NUMBERS, chance.randrange(2**16)])
    return packed(contents, lies={(kind, field): lie}, of=chance.choice(list(contents)))


def longer(chance: random.Random, contents: Contents) -> bytes:
    """The directory and the objects say that a member has more bytes than it has."""
    member = chance.choice([name for name in contents if name.startswith("archive/data/")])
    items = chance.choice([300, 2**20, 2**28])
    objects = with_items(contents[OBJECTS], member.rpartition("/")[2], items)
    lies = {("entry", "size"): 4 * items} | ({("entry", "packed"): 4 * items} if chance.random() < 0.3 else {})
    return packed({**contents, OBJECTS: objects}, lies=lies, of=member)


def with_items(objects: bytes, member: str, items: int) -> bytes:
    """Return the pickle, which now says of that member that it has so many items, of which its tensor is the last."""
    named = b"X" + struct.pack("<I", len(member)) + member.encode() + b"q."
    found = re.search(named + rb"(?:X\x03\0\0\0cpuq.|h.)(K.|M..)tQq.(K\x00)\((K.|M..)", objects, re.DOTALL)
    assert found is not None
    length = int.from_bytes(found[3][1:], "little")
    count, offset = (b"J" + struct.pack("<i", number) for number in (items, items - length))
    return objects[: found.start(1)] + count + objects[found.end(1) : found.start(2)] + offset + objects[found.end(2) :]


def misspelt(chance: random.Random, contents: Contents) -> bytes:
    """One byte of the objects is another."""
    objects = bytearray(contents[OBJECTS])
    objects[chance.randrange(len(objects))] = chance.randrange(256)
    return packed({**contents, OBJECTS: bytes(objects)})


def overwritten(chance: random.Random, contents: Contents) -> bytes:
    """Some bytes of the file are others."""
    content = bytearray(packed(contents))
    for place in chance.sample(range(len(content)), chance.randint(1, 8)):
        content[place] = chance.randrange(256)
    return bytes(content)


def cut(chance: random.Random, contents: Contents) -> bytes:
    """A part of the file is missing, at its end or inside."""
    content = packed(contents)
    start, end = sorted(chance.sample(range(len(content)), 2))
    return content[:start] if chance.random() < 0.3 else content[:start] + content[end:]


def overlapping(chance: random.Random, contents: Contents) -> bytes:
    """A member lies where another one does, or a part of the file is there twice."""
    if chance.random() < 0.5:
        return packed(contents, lies={("entry", "offset"): 64 * chance.randrange(20)}, of=chance.choice(list(contents)))
    content = packed(contents)
    start, end = sorted(chance.sample(range(len(content)), 2))
    return content[:end] + content[start:]


def nudged(chance: random.Random, contents: Contents) -> bytes:
    """The lowest bit of a number is the other one: all is well, and the version has other parameters."""
    member = chance.choice([name for name in contents if name.startswith("archive/data/")])
    values = bytearray(contents[member])
    values[4 * chance.randrange(len(values) // 4)] ^= 1
    return packed({**contents, member: bytes(values)})


LIES: Final[tuple[Change, ...]] = (misstated, longer, misspelt, overwritten, cut, overlapping)
