"""A TorchScript archive: which members it may have, and how large they may be.

Owns `rebuilt`, the one way from the bytes of a version to what torch is given. No call into torch.
"""

import io
import re
from collections.abc import Mapping
from typing import Final
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from service.archive import pickled, script, zip_reader
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


def rebuilt(content: bytes) -> io.BytesIO:
    """A new archive with what was understood of `content`: the tensors' bytes, the code and the objects.

    Raises ArchiveError for whatever does not belong in a network. Two readers can take one zip file, source or pickle
    for different things: of what is written here there is one reading, and what was not understood is not in it.
    """
    members = _members(content)
    understood = script.understand(_sources(members))
    storages = {name: member for name, member in members.items() if name.startswith("data/")}
    _check_fixed(members)
    sizes = {name: len(storage) for name, storage in storages.items()}
    objects = pickled.understand(bytes(members["data.pkl"]), understood.classes, sizes)
    rebuilt = io.BytesIO()
    with ZipFile(rebuilt, "w", ZIP_STORED) as archive:
        for name, storage in storages.items():
            archive.writestr(ZipInfo(_FOLDER + name), storage)
        archive.writestr(ZipInfo(_FOLDER + "data.pkl"), objects)
        for module, source in understood.sources.items():
            archive.writestr(ZipInfo(f"{_FOLDER}code/{module.replace('.', '/')}.py"), source)
        archive.writestr(ZipInfo(_FOLDER + "constants.pkl"), _NO_CONSTANTS)
        archive.writestr(ZipInfo(_FOLDER + "version"), _version(members))
        archive.writestr(ZipInfo(_FOLDER + "byteorder"), _LITTLE)
    rebuilt.seek(0)
    return rebuilt


def _members(content: bytes) -> dict[str, memoryview]:
    """The members by name, none of which is anything but a network's."""
    members: dict[str, memoryview] = {}
    for full, member in zip_reader.read(content, DESCRIPTION_MAX_BYTES).items():
        name = full.removeprefix(_FOLDER)
        if full == name or not (_CODE.fullmatch(name) or _OTHERS.fullmatch(name)):
            raise ArchiveError(f"member {full[:100]!r} does not belong in a network")
        members[name] = member
    if missing := {"data.pkl", "constants.pkl", "byteorder"} - set(members):
        raise ArchiveError(f"member {min(missing)} is missing")
    described = sum(len(member) for name, member in members.items() if not name.startswith("data/"))
    if described > DESCRIPTION_MAX_BYTES:
        raise ArchiveError(f"code and objects are larger than {DESCRIPTION_MAX_BYTES} bytes")
    return members


def _sources(members: Mapping[str, memoryview]) -> dict[str, str]:
    """The code by the full name of its module."""
    try:
        return {
            found[1].replace("/", "."): str(member, "ascii")
            for name, member in members.items()
            if (found := _CODE.fullmatch(name))
        }
    except UnicodeDecodeError as error:
        raise ArchiveError(f"code holds a character that is not allowed: {error}") from error


def _check_fixed(members: Mapping[str, memoryview]) -> None:
    if members["constants.pkl"] != _NO_CONSTANTS:
        raise ArchiveError("constants.pkl: a network has no constants")
    if members["byteorder"] != _LITTLE:
        raise ArchiveError("byteorder: is not little")


def _version(members: Mapping[str, memoryview]) -> bytes:
    """The version of torch's format; where it is kept depends on which it is."""
    found = [bytes(members[name]) for name in ("version", ".data/version") if name in members]
    if len(found) != 1 or not re.fullmatch(rb"[1-9][0-9]?\n?", found[0]):
        raise ArchiveError("version: is not one number")
    return found[0]
