"""One file a worker with what it serves, so that one that takes a dead one's place serves the same as the others.

It says which version each label stands for, which may be written nowhere else once a label's file is damaged, which
bytes each version has, which the artifacts folder may have replaced meanwhile, and which columns each default has.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from service.catalog import Catalog, Model
from service.interface import Interface
from service.layout import Labels

_SUFFIX = ".served"

log = logging.getLogger("calibrant.shared")


@dataclass(frozen=True, slots=True)
class Known:
    """What another worker knows of a model: its default, and the labels; each names here what it stands for there."""

    labels: Mapping[str, int]
    lost: frozenset[str]
    inherited: int = 0

    @property
    def serving(self) -> Mapping[str, int]:
        """The same as `labels`."""
        return self.labels


class Shared:
    """The files in a folder that all workers of a run share; without one, nothing is known and nothing is written."""

    def __init__(self, snapshot: Path | None) -> None:
        """`snapshot` is this worker's file of counts, beside which its own file lies."""
        self._path = snapshot.with_suffix(_SUFFIX) if snapshot else None
        self._written = b""

    def default(self) -> str | None:
        """Return the default model of the others."""
        return next((document["default"] for document in self._others() if document["default"]), None)

    def known(self, model: str) -> Known | None:
        """Return what the others know of a model's labels, None where none of them knows it."""
        found = self._of(model)
        serving = {label: number for one in found for label, number in one["serving"].items()}
        lost = set.intersection(*(set(one["lost"]) for one in found)) if found else set()
        default = next((one["default"] for one in found if one["default"]), 0)
        return Known(serving, frozenset(lost), default) if found else None

    def digests(self, model: str) -> Mapping[int, str]:
        """Return the manifest's sha256 of each version that the others serve."""
        return {int(number): digest for one in self._of(model) for number, digest in one["digests"].items()}

    def interface(self, model: str, number: int) -> Interface | None:
        """Return what a version takes and gives that another worker serves as the lowest one."""
        for found in self._of(model):
            if found["lowest"] and found["lowest"][0] == number:
                return Interface(*(tuple(map(tuple, columns)) for columns in found["lowest"][1]))
        return None

    def labels(self, model: str) -> Labels | None:
        """Return the labels of a model as the others know them, and in which folder they were; None where none does."""
        for found in self._of(model):
            if found["place"]:
                device, inode = found["place"]
                return Labels(found["serving"], place=(device, inode))
        return None

    def write(self, catalog: Catalog) -> None:
        """Put this worker's file in place, whole, where it is not the same as before."""
        if self._path is None:
            return
        models = {name: _document(model) for name, model in catalog.models.items()}
        content = orjson.dumps({"default": catalog.default, "models": models})
        if content == self._written:
            return
        try:
            unfinished = self._path.with_suffix(".unfinished-served")
            unfinished.write_bytes(content)
            unfinished.replace(self._path)
        except OSError as error:
            log.error("what this worker serves cannot be written for the others: %s", error.strerror)
        self._written = content

    def _of(self, model: str) -> list[Any]:
        return [document["models"][model] for document in self._others() if model in document["models"]]

    def _others(self) -> Iterator[Any]:
        for path in sorted(self._path.parent.glob(f"*{_SUFFIX}")) if self._path else ():
            if path != self._path:
                yield orjson.loads(path.read_bytes())


def _document(model: Model) -> dict[str, Any]:
    lowest = next(iter(model.versions.values()))
    known = lowest.interface if lowest.served else None
    return {
        "serving": dict(model.serving),
        "lost": sorted(model.lost),
        "digests": {str(number): version.digest for number, version in model.versions.items() if version.served},
        "default": model.default.number if model.default else 0,
        "lowest": (lowest.number, (known.features, known.targets)) if known else None,
        "place": model.labels_place,
    }
