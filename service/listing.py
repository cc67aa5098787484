"""What the artifacts folder holds at one moment, and what of it cannot be read: no odd entry hides the others.

What could be read before and cannot be for a moment stays as it was, so that an unmounted disk removes nothing.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from service.directory import ArtifactError, Directory, Place, reason
from service.layout import DEFAULT_MODEL, DIGESTS, Labels, default_model, is_name, is_version, labels

Identity: TypeAlias = tuple[tuple[str, int, int, int], ...]

# A folder with more entries than that is not listed again while it says that none came or went.
_LONG = 10_000
_MOST_VERSIONS = 10_000
_MOST_FILES = 1_000
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Listing:
    """A model's folder; `warnings` say what is wrong with it, or why this is what it held earlier."""

    path: Path
    place: Place
    versions: Mapping[int, Identity]
    labels: Labels
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """The whole folder: its models by name, the default model's name, and what is wrong with it apart from them."""

    models: Mapping[str, Listing] = field(default_factory=dict)
    default: str | None = None
    default_fault: str | None = None
    warnings: tuple[str, ...] = ()


class Folder:
    """Looks at the artifacts folder again and again."""

    def __init__(self, artifacts: Path, elsewhere: Callable[[str], Labels | None] = lambda _: None) -> None:
        """`elsewhere` gives the labels of a model as other workers have seen them, for the first look at that model."""
        self._artifacts = artifacts
        self._elsewhere = elsewhere
        self._place: Place | None = None
        self._models: dict[str, Listing] = {}
        self._long: dict[Path, tuple[tuple[int, ...], dict[str, bool]]] = {}

    def look(self) -> Seen:
        """Return what is there now; raises ArtifactError where the folder itself cannot be read."""
        try:
            with Directory(self._artifacts, through_link=True) as opened:
                place, found = opened.place(), self._entries(opened, self._artifacts, is_name)
        except ArtifactError as error:
            raise ArtifactError(f"the artifacts folder cannot be read: {str(error).rpartition(': ')[2]}") from error
        listed = [self._listed(name, is_folder=found[name]) for name in sorted(found)]
        models = {listing.path.name: listing for listing in listed if isinstance(listing, Listing)}
        if self._models and not models and self._place not in (None, place):
            raise ArtifactError("the artifacts folder is another one than before, and holds no model: is it mounted?")
        self._place, self._models = place, models
        default, fault = self._default()
        return Seen(models, default, fault, shortened([odd for odd in listed if isinstance(odd, str)]))

    def _default(self) -> tuple[str | None, str | None]:
        try:
            return default_model(self._artifacts), None
        except ArtifactError as error:
            return None, f"{error}: write the name of a model into {self._artifacts / DEFAULT_MODEL}"

    def _listed(self, name: str, *, is_folder: bool) -> Listing | str | None:
        """Return the model, or what is wrong with its folder; nothing for a folder that never held a version."""
        path, before = self._artifacts / name, self._models.get(name)
        if not is_folder:
            return _kept(before, f"{name}: is not a folder")
        try:
            listing = self._listing(path)
        except ArtifactError as error:
            return _kept(before, str(error))
        if listing.versions:
            return listing
        # A folder without a version is no model: its first publisher may have been stopped half-way.
        if before is None or before.place == listing.place:
            return None
        return _kept(before, f"{name}: is another folder than before, and holds no version: is it mounted?")

    def _listing(self, path: Path) -> Listing:
        with Directory(path, through_link=True) as opened:
            place, found = opened.place(), self._entries(opened, path, is_version)
        numbers = sorted(map(int, found))
        warnings: tuple[str, ...] = ()
        if len(numbers) > _MOST_VERSIONS:
            # The lowest one says which columns a version has to have.
            numbers = [numbers[0], *numbers[1 - _MOST_VERSIONS :]]
            warnings = (f"there are {len(found)} versions, and only {_MOST_VERSIONS} of them are looked at",)
        versions = {number: _identity(path / str(number)) for number in numbers}
        found_labels, known = labels(path), self._models.get(path.name)
        if before := known.labels if known else self._elsewhere(path.name):
            found_labels = found_labels.after(before)
        return Listing(path, place, versions, found_labels, warnings=warnings)

    def _entries(self, opened: Directory, path: Path, fits: Callable[[str], bool]) -> dict[str, bool]:
        """Return the names that fit, each with whether it is a folder's."""
        found = opened.state()
        state = (found.st_dev, found.st_ino, found.st_mtime_ns)
        if (known := self._long.pop(path, None)) and known[0] == state:
            self._long[path] = known
            return known[1]
        count, fitting = 0, {}
        for entry in opened.entries():
            count += 1
            if fits(entry.name):
                fitting[entry.name] = _is_folder(entry)
        if count > _LONG:
            self._long[path] = (state, fitting)
        return fitting


def _kept(before: Listing | None, fault: str) -> Listing | str:
    if before is None:
        return fault
    fault = fault.removeprefix(f"{before.path.name}: ")
    return replace(before, warnings=(f"its folder: {fault}; what was known of it before is kept",))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return True  # to open it will say what is wrong


def _identity(version: Path) -> Identity:
    """Differs whenever a file of the version was put there anew, so that a version is not tried twice for nothing."""
    try:
        with Directory(version) as opened:
            state = opened.state()
            files = [(entry.name, entry.stat(follow_symlinks=False)) for entry in islice(opened.entries(), _MOST_FILES)]
    except ArtifactError as error:
        return ((str(error), 0, 0, 0),)
    except OSError as error:
        return ((reason(error), 0, 0, 0),)
    # Of a record, which may be repaired, and of a folder with more files than are looked at.
    files += [("", state), *_record(version)]
    # The time of the last change that nobody can set back, as a file's own time can be.
    return tuple(sorted((name, found.st_ino, found.st_ctime_ns, found.st_size) for name, found in files))


def _record(version: Path) -> list[tuple[str, os.stat_result]]:
    try:
        return [(DIGESTS, (version.parent / DIGESTS / version.name).lstat())]
    except OSError:
        return []


def shortened(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the first of many warnings, and how many more there are: a crowd of odd files must not flood the log."""
    more = len(texts) - _SHOWN
    return (*texts[:_SHOWN], f"and {more} more such entries") if more > 0 else tuple(texts)
