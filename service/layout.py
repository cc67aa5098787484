"""Where things lie in the artifacts folder, and its small files: labels, the default model's name, recorded digests.

Nothing here waits for a file, reads more of one than such a file can hold, or takes a damaged one for a missing one.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from service.contract import NAME
from service.directory import ArtifactError, Directory, Place, reason

LABELS = "labels"
DEFAULT_LABEL = "champion"
DEFAULT_MODEL = "default_model.txt"
DIGESTS = "digests"

_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SMALL_MAX_BYTES = 100
_MOST_LABELS = 1_000


@dataclass(frozen=True, slots=True)
class Labels:
    """A model's labels by name, and in `faults` what is wrong with each one that cannot be read.

    `fault` says why labels may be missing here: the folder of labels cannot be read, or not all of it. `place` tells
    that folder from another one that lies there later.
    """

    versions: Mapping[str, int] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    fault: str | None = None
    place: Place | None = None

    def notes(self) -> tuple[str, ...]:
        """Return what is wrong that is not a fault of one label."""
        return (self.fault,) if self.fault and self.fault not in self.faults.values() else ()

    def after(self, before: "Labels") -> "Labels":
        """Return the same; as it was before, with a fault, where it cannot be read or is another folder and empty."""
        fault = self.fault
        if before.place and self.place not in (None, before.place) and not self.faults:
            fault = fault or f"{LABELS}: is another folder than before, and holds no label: is it mounted?"
        if self.versions or not fault or not (before.versions or before.faults):
            return self
        return replace(before, faults={DEFAULT_LABEL: fault}, fault=fault)


def is_name(text: str) -> bool:
    """Whether `text` can name a model or a label: lower-case letters, digits, ``_`` and ``-``, at most 64."""
    return re.fullmatch(NAME, text) is not None


def is_version(text: str) -> bool:
    """Return whether `text` can name a version: a whole number from 1, without a zero before it."""
    return _VERSION.fullmatch(text) is not None


def versions(model: Path) -> list[int]:
    """The version numbers under a model's directory, ascending; whatever is not named by a number is passed over."""
    with os.scandir(model) as entries:
        return sorted(int(entry.name) for entry in entries if is_version(entry.name))


def labels(model: Path) -> Labels:
    """Return the labels of a model, and what is wrong with those that are damaged."""
    folder = model / LABELS
    try:
        folder.lstat()
        with Directory(folder, through_link=True) as opened:
            entries = opened.entries()
            names = {entry.name for entry in islice(entries, _MOST_LABELS) if is_name(entry.name)}
            fault = None if next(entries, None) is None else f"{LABELS}: has more than {_MOST_LABELS} entries"
            found, faults = _read_labels(opened, sorted({DEFAULT_LABEL, *names}))
            return Labels(found, faults, fault, opened.place())
    except FileNotFoundError:
        return Labels()
    except OSError as error:
        fault = f"{LABELS}: {reason(error)}"
    except ArtifactError as error:
        fault = str(error)
    # Nobody can know whether there is a default label in it.
    return Labels(faults={DEFAULT_LABEL: fault}, fault=fault)


def default_model(artifacts: Path) -> str | None:
    """Return the model that answers where none is named: the first one that was published; None where no file says so.

    Raises ArtifactError where the file is damaged.
    """
    with Directory(artifacts, through_link=True) as opened:
        text = _small(opened, DEFAULT_MODEL)
    if text is not None and not is_name(text):
        raise ArtifactError(f"{DEFAULT_MODEL}: does not hold the name of a model")
    return text


def recorded_digest(version: Path) -> str | None:
    """Return the sha256 of the manifest that was published as this version, None where it was not recorded.

    Raises ArtifactError where the record is damaged.
    """
    folder = version.parent / DIGESTS
    try:
        folder.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtifactError(f"{DIGESTS}: {reason(error)}") from error
    with Directory(folder, through_link=True) as opened:
        text = _small(opened, version.name)
    if text is not None and not _DIGEST.fullmatch(text):
        raise ArtifactError(f"{DIGESTS}/{version.name}: does not hold a sha256; remove it if the version is as it was")
    return text


def is_published(version: Path, digest: str) -> bool:
    """Return whether the record says that the manifest with this sha256 was published as this version."""
    try:
        return recorded_digest(version) == digest
    except ArtifactError:
        return False


def check_as_published(version: Path, manifest: bytes) -> None:
    """Raise ArtifactError where another manifest than this one was published as this version."""
    if recorded_digest(version) not in (None, hashlib.sha256(manifest).hexdigest()):
        raise ArtifactError(
            f"manifest.json: differs from what was published as version {version.name}: publish it as a new version, "
            f"or remove {DIGESTS}/{version.name} if it has to be this one"
        )


def _read_labels(opened: Directory, names: Iterable[str]) -> tuple[dict[str, int], dict[str, str]]:
    found, faults = {}, {}
    for name in names:
        try:
            text = _small(opened, name, through_link=True)
        except ArtifactError as error:
            faults[name] = f"{LABELS}/{error}"
            continue
        if text is not None and is_version(text):
            found[name] = int(text)
        elif text is not None:
            faults[name] = f"{LABELS}/{name}: {'does not hold the number of a version' if text else 'is empty'}"
    return found, faults


def _small(opened: Directory, name: str, *, through_link: bool = False) -> str | None:
    """Return the text of a small file, None where there is no such file; raises ArtifactError for an odd one."""
    try:
        return opened.read(name, _SMALL_MAX_BYTES, through_link=through_link).decode("ascii", "replace").strip()
    except ArtifactError as error:
        if isinstance(error.__cause__, FileNotFoundError) and not opened.has_link(name):
            return None
        raise
