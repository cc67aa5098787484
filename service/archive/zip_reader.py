"""A zip file, read only in the one form in which torch writes archives, byte for byte.

Owns `read`. A zip file says most things twice, and two readers may believe two different places. Here nothing is left
to believe: from each member's name, method, sum and sizes every other byte is computed, and compared with the file's.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final, TypeAlias

from service.archive.error import ArchiveError

MEMBERS_MAX: Final = 10_000

_Fields: TypeAlias = Mapping[str, "int | bytes"]

_LOCAL = Struct("<4s5H3L2H")
_DESCRIPTOR = Struct("<4s3L")
_ENTRY = Struct("<4s6H3L5H2L")
_END = Struct("<4sQ2H2L4Q4sLQL4s4H2LH")
_STORED, _DEFLATED = 0, 8
_IN_DESCRIPTOR, _UTF8 = 0x0008, 0x0800
# Torch fills the extra field, so that each member's bytes begin at a multiple of this.
_ALIGNMENT = 64
_COMPRESSED_FOLDER = "archive/code/"


@dataclass(frozen=True, slots=True)
class _Member:
    """What the directory says of a member; `record` is the place of its entry there."""

    record: int
    name: str
    method: int
    crc: int
    packed: int
    size: int

    @property
    def head(self) -> _Fields:
        """The fields that the local header and the directory's entry have in common."""
        # An empty member has nothing that a descriptor would describe.
        flags = _UTF8 | _IN_DESCRIPTOR if self.size else _UTF8
        needed = 20 if self.method == _DEFLATED else 0
        return {"version": needed, "flags": flags, "method": self.method, "time": 0, "date": 0}

    @property
    def sums(self) -> _Fields:
        """The fields that the descriptor and the directory's entry have in common."""
        return {"crc": self.crc, "compressed size": self.packed, "size": self.size}


def read(content: bytes, compressed_max: int) -> dict[str, memoryview]:
    """Return the members' bytes by name; those that were compressed have at most `compressed_max` bytes together.

    Raises ArchiveError for any byte that torch would not have written there.
    """
    view = memoryview(content)
    members = list(_members(view))
    if sum(member.size for member in members if member.method == _DEFLATED) > compressed_max:
        raise ArchiveError(f"compressed members are larger than {compressed_max} bytes")
    contents: dict[str, memoryview] = {}
    position = 0
    for member in members:
        if member.name in contents:
            raise ArchiveError(f"member {member.name} is there twice")
        _check_entry(view, member, position)
        packed, position = _packed(view, member, position)
        contents[member.name] = _unpacked(packed, member)
    _check_end(view, len(members), position)
    return contents


def _members(view: memoryview) -> Iterator[_Member]:
    """Read the directory: where the end record says that it is, and up to that record."""
    end = len(view) - _END.size
    position = _unpack(_END, view, end, "end record")[9]
    count = 0
    while position != end:
        entry = _unpack(_ENTRY, view, position, "directory")
        method, crc, packed, size, length = entry[4], *entry[7:11]
        behind = position + _ENTRY.size + length
        if behind > end or (count := count + 1) > MEMBERS_MAX:
            raise ArchiveError(f"directory: does not end before its end record, or has more than {MEMBERS_MAX} members")
        yield _Member(position, _name(view[behind - length : behind]), method, crc, packed, size)
        position = behind


def _name(written: memoryview) -> str:
    try:
        return bytes(written).decode("ascii")
    except UnicodeDecodeError as error:
        raise ArchiveError(f"directory: {bytes(written[:100])!r} cannot name a member") from error


def _check_entry(view: memoryview, member: _Member, position: int) -> None:
    """Check all that the directory says of a member that begins at `position`."""
    if member.method == _DEFLATED and not member.name.startswith(_COMPRESSED_FOLDER):
        raise ArchiveError(f"member {member.name} is compressed; torch compresses code alone")
    if member.method not in {_STORED, _DEFLATED}:
        raise ArchiveError(f"member {member.name} is compressed in an unknown way: method {member.method}")
    if member.method == _STORED and member.packed != member.size:
        raise ArchiveError(f"member {member.name} has two sizes: {member.packed} and {member.size}")
    fields = {
        "signature": b"PK\1\2",
        "version made by": 0,
        **member.head,
        **member.sums,
        "name length": len(member.name),
    }
    nothing = dict.fromkeys(("extra length", "comment length", "disk", "attributes", "system's attributes"), 0)
    _expect(_ENTRY, view, member.record, f"directory, {member.name}", {**fields, **nothing, "offset": position})


def _packed(view: memoryview, member: _Member, position: int) -> tuple[memoryview, int]:
    """Return the member's bytes in the file, and where the next member begins."""
    start = position + _LOCAL.size + len(member.name)
    padding = -(start + 4) % _ALIGNMENT
    fields = {"signature": b"PK\3\4", **member.head, **dict.fromkeys(member.sums, 0)}
    lengths = {"name length": len(member.name), "extra length": padding + 4}
    _expect(_LOCAL, view, position, f"local header of {member.name}", {**fields, **lengths})
    data = start + 4 + padding
    extra = b"FB" + padding.to_bytes(2, "little") + padding * b"Z"
    if view[start - len(member.name) : data] != member.name.encode() + extra:
        raise ArchiveError(f"local header of {member.name}: has another name, or another extra field than torch writes")
    end = data + member.packed
    if not member.size:
        return view[data:end], end
    _expect(_DESCRIPTOR, view, end, f"descriptor of {member.name}", {"signature": b"PK\7\x08", **member.sums})
    return view[data:end], end + _DESCRIPTOR.size


def _unpacked(packed: memoryview, member: _Member) -> memoryview:
    content = _inflated(packed, member) if member.method == _DEFLATED else packed
    if len(content) != member.size:
        raise ArchiveError(f"member {member.name} has not the {member.size} bytes that the directory says")
    if zlib.crc32(content) != member.crc:
        raise ArchiveError(f"member {member.name} has another crc than the directory says")
    return content


def _inflated(packed: memoryview, member: _Member) -> memoryview:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(packed, member.size + 1)
    except zlib.error as error:
        raise ArchiveError(f"member {member.name} cannot be decompressed: {error}") from error
    if not inflater.eof or inflater.unused_data:
        raise ArchiveError(f"member {member.name} does not end where the directory says")
    return memoryview(content)


def _check_end(view: memoryview, count: int, directory: int) -> None:
    """Check the three records behind a directory that must begin at `directory`, where the last member ends."""
    end = len(view) - _END.size
    place: _Fields = {
        "disk": 0,
        "directory's disk": 0,
        "members here": count,
        "members": count,
        "directory's size": end - directory,
        "directory's offset": directory,
    }
    long: _Fields = {"signature": b"PK\6\6", "record's size": 44, "version made by": 0x031E, "version": 45, **place}
    locator: _Fields = {"locator": b"PK\6\7", "record's disk": 0, "record's offset": end, "disks": 1}
    short: _Fields = {"last signature": b"PK\5\6", **{f"last {name}": value for name, value in place.items()}}
    _expect(_END, view, end, "end record", {**long, **locator, **short, "comment length": 0})


def _expect(layout: Struct, view: memoryview, position: int, what: str, fields: _Fields) -> None:
    """Raise ArchiveError unless the record at `position` has these values, which are in the layout's order."""
    for found, (name, expected) in zip(_unpack(layout, view, position, what), fields.items(), strict=True):
        if found != expected:
            raise ArchiveError(f"{what}: {name} is {found!r}, torch writes {expected!r} there")


def _unpack(layout: Struct, view: memoryview, position: int, what: str) -> tuple[int, ...]:
    if not 0 <= position <= len(view) - layout.size:
        raise ArchiveError(f"{what}: lies outside of the file")
    return layout.unpack_from(view, position)
