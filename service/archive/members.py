"""A TorchScript archive as a zip file: which members it may have, and how large they may be.

Owns `rebuilt`, the one way from the bytes of a version to what torch is given. No call into torch.
"""

import io
import re
import zlib
from collections.abc import Mapping
from struct import error as StructError  # noqa: N812 - a class, whatever its name
from typing import Final
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from service.archive import pickled, script
from service.archive.error import ArchiveError

# A network of eight layers has 10 kB of code and of objects each.
DESCRIPTION_MAX_BYTES: Final = 2**20

_FOLDER = "archive/"
_CODE = re.compile(r"code/(__torch__(?:/[A-Za-z_][A-Za-z0-9_]*){1,20})\.py")
_OTHERS = re.compile(
    r"data\.pkl|constants\.pkl|data/[0-9]{1,6}|version|\.data/version|byteorder|\.data/serialization_id"
    r"|code/__torch__(?:/[A-Za-z_][A-Za-z0-9_]*){1,20}\.py\.debug_pkl"
)
_LITTLE = b"little"
_NO_CONSTANTS = b"\x80\x02)."
_BROKEN = (BadZipFile, zlib.error, StructError, EOFError, ValueError, RuntimeError, OSError, LookupError)


def rebuilt(content: bytes) -> io.BytesIO:
    """A new archive with what was understood of `content`: the tensors' bytes, the code and the objects.

    Raises ArchiveError for whatever does not belong in a network. Two readers can take one zip file, source or pickle
    for different things: of what is written here there is one reading, and what was not understood is not in it.
    """
    try:
        with ZipFile(io.BytesIO(content)) as given:
            return _rebuilt(given, _members(given, len(content)))
    except _BROKEN as error:
        raise ArchiveError(f"is no archive that can be read: {error}") from error


def _rebuilt(given: ZipFile, members: Mapping[str, ZipInfo]) -> io.BytesIO:
    sources = {
        found[1].replace("/", "."): _read(given, info).decode("ascii")
        for name, info in members.items()
        if (found := _CODE.fullmatch(name))
    }
    understood = script.understand(sources)
    storages = {name: info.file_size for name, info in members.items() if name.startswith("data/")}
    _check_fixed(given, members)
    objects = pickled.understand(_read(given, members["data.pkl"]), understood.classes, storages)
    rebuilt = io.BytesIO()
    with ZipFile(rebuilt, "w", ZIP_STORED) as archive:
        for name in storages:
            archive.writestr(ZipInfo(_FOLDER + name), given.read(members[name]))
        archive.writestr(ZipInfo(_FOLDER + "data.pkl"), objects)
        for module, source in understood.sources.items():
            archive.writestr(ZipInfo(f"{_FOLDER}code/{module.replace('.', '/')}.py"), source)
        archive.writestr(ZipInfo(_FOLDER + "constants.pkl"), _NO_CONSTANTS)
        archive.writestr(ZipInfo(_FOLDER + "version"), _version(given, members))
        archive.writestr(ZipInfo(_FOLDER + "byteorder"), _LITTLE)
    rebuilt.seek(0)
    return rebuilt


def _members(given: ZipFile, size: int) -> dict[str, ZipInfo]:
    """The members by name, none of which is anything but a network's."""
    members: dict[str, ZipInfo] = {}
    for info in given.infolist():
        full, name = info.orig_filename, info.orig_filename.removeprefix(_FOLDER)
        is_code = _CODE.fullmatch(name) is not None
        if full == name or not (is_code or _OTHERS.fullmatch(name)):
            raise ArchiveError(f"member {full[:100]!r} does not belong in a network")
        if name in members:
            raise ArchiveError(f"member {name} is there twice")
        # Torch compresses code, and nothing that this reader opens besides.
        if info.compress_type != ZIP_STORED and not name.startswith("code/"):
            raise ArchiveError(f"member {name} is compressed")
        members[name] = info
    if missing := {"data.pkl", "constants.pkl", "byteorder"} - set(members):
        raise ArchiveError(f"member {min(missing)} is missing")
    if sum(info.compress_size for info in members.values()) > size:
        raise ArchiveError("members overlap")
    described = sum(info.file_size for name, info in members.items() if not name.startswith("data/"))
    if described > DESCRIPTION_MAX_BYTES:
        raise ArchiveError(f"code and objects are larger than {DESCRIPTION_MAX_BYTES} bytes")
    return members


def _check_fixed(given: ZipFile, members: Mapping[str, ZipInfo]) -> None:
    if _read(given, members["constants.pkl"]) != _NO_CONSTANTS:
        raise ArchiveError("constants.pkl: a network has no constants")
    if _read(given, members["byteorder"]) != _LITTLE:
        raise ArchiveError("byteorder: is not little")


def _version(given: ZipFile, members: Mapping[str, ZipInfo]) -> bytes:
    """The version of torch's format; where it is kept depends on which it is."""
    infos = [members[name] for name in ("version", ".data/version") if name in members]
    if len(infos) != 1 or not re.fullmatch(rb"[1-9][0-9]?\n?", content := _read(given, infos[0])):
        raise ArchiveError("version: is not one number")
    return content


def _read(given: ZipFile, info: ZipInfo) -> bytes:
    """At most what the archive says: `ZipFile.read` would first decompress all that there is."""
    with given.open(info) as member:
        return member.read(info.file_size + 1)
