"""What is published, what of it serves, and why the rest does not. Reads the artifacts folder; knows no HTTP.

`Store.refresh` makes a new `Catalog` beside the one in use and puts it in place by one assignment, so that whoever
holds a version keeps it until its last request is answered.
"""

import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

import orjson
import torch

from service import artifact
from service.artifact import ArtifactError
from service.engine import Engine
from service.predictor import Predictor
from service.settings import Settings
from service.tables.json import Columns

log = logging.getLogger("calibrant.store")

State: TypeAlias = Literal["loading", "ready", "failed"]
_Identity: TypeAlias = tuple[tuple[str, int, int, int], ...]


class Served:
    """A ready version, and what it answers with.

    `json_answer` is its answers' JSON, with ``%b`` for each target's array and for that of the rows out of range.
    """

    def __init__(self, number: int, predictor: Predictor, columns: Columns, engine: Engine) -> None:
        self.model = predictor.manifest.model
        self.number = number
        self.predictor = predictor
        self.columns = columns
        self.engine = engine
        targets = b",".join(
            [orjson.dumps(target.name).replace(b"%", b"%%") + b":%b" for target in predictor.manifest.targets]
        )
        whose = b'{"model":"%b","version":"%d","predictions":{' % (self.model.encode(), number)
        self.json_answer = whose + targets + b'},"out_of_range":%b}'

    def json(self, document: dict[str, object]) -> bytes:
        """A document, arrays in it as they are, behind the model and the version that it is of."""
        whose = {"model": self.model, "version": str(self.number)}
        return orjson.dumps(whose | document, option=orjson.OPT_SERIALIZE_NUMPY)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model, its state, and since when it is in it; `served` exactly when it is ready."""

    model: str
    number: int
    state: State
    since: datetime
    reason: str | None = None
    served: Served | None = None
    identity: _Identity = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Model:
    """A model's versions by number, its labels as the folder has them, and what answers.

    `serving` is the version each label stands for now: one that was moved to a version that is not ready stands for the
    one it named before. `default` is what `champion` stands for, else the highest ready version.
    """

    name: str
    versions: Mapping[int, Version]
    labels: Mapping[str, int]
    serving: Mapping[str, int]
    default: Version | None = None

    def find(self, reference: str) -> Version | None:
        """The version that a number or a label names."""
        number = self.serving.get(reference, self.labels.get(reference))
        if number is None and reference.isascii() and reference.isdigit():
            number = int(reference[:20])
        return self.versions.get(number or 0)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The folder at one moment: `default` is the model of its own choice, where that is there.

    `complete` once all of it was tried; `error` says why it could not be read.
    """

    models: Mapping[str, Model] = field(default_factory=dict)
    default: str | None = None
    complete: bool = False
    error: str | None = None


class Store:
    """Follows the artifacts folder. `refresh` runs in one thread at a time; `catalog` is read from any."""

    def __init__(self, settings: Settings, device: torch.device) -> None:
        self.catalog = Catalog()
        self._settings = settings
        self._device = device
        self._closed = False
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    def refresh(self) -> None:
        """Load what is new, forget what is gone, move the labels; whatever fails leaves what serves as it is."""
        before = self.catalog
        try:
            first = artifact.default_model(self._settings.artifacts)
            listings = [_listing(path) for path in _model_folders(self._settings.artifacts)]
        except OSError as error:
            reason = f"the artifacts folder cannot be read: {os.strerror(error.errno or 0).lower()}"
            if before.error != reason:
                log.error(reason)
            self.catalog = replace(before, complete=True, error=reason)
            return
        # A folder without a version is no model: its first publisher may have been stopped half-way.
        found = {listing.path.name: listing for listing in listings if listing.versions}
        known = {name: self._known(name, listing, before) for name, listing in found.items()}
        default = first if first in known else next(iter(known)) if len(known) == 1 else None
        self.catalog = Catalog(known, default, complete=before.complete)
        for name in known:
            for number in sorted(found[name].versions, reverse=True):
                if self._closed:
                    return
                self._load_if_new(name, found[name], number)
        self.catalog = replace(self.catalog, complete=True)

    def close(self) -> None:
        """Answer what waits, load no more, and end the worker thread."""
        self._closed = True
        for model in self.catalog.models.values():
            for version in model.versions.values():
                if version.served:
                    version.served.engine.close()
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _known(self, name: str, listing: "_Listing", before: Catalog) -> Model:
        """The model with the versions that were there already; the new ones as loading."""
        old = before.models.get(name)
        seen = old.versions if old else {}
        versions = {
            number: seen.get(number) or Version(name, number, "loading", datetime.now(UTC))
            for number in listing.versions
        }
        return _settled(Model(name, versions, listing.labels, old.serving if old else {}))

    def _load_if_new(self, name: str, listing: "_Listing", number: int) -> None:
        model = self.catalog.models[name]
        before, identity = model.versions[number], listing.versions[number]
        if before.identity == identity:
            return
        version = replace(self._load(listing.path / str(number), before), identity=identity)
        model = _settled(replace(model, versions={**model.versions, number: version}))
        self.catalog = replace(self.catalog, models={**self.catalog.models, name: model})

    def _load(self, path: Path, before: Version) -> Version:
        try:
            served = self._served(path)
        except (ArtifactError, RuntimeError) as error:
            reason = str(error)
            log.error("%s version %d does not go live: %s", before.model, before.number, reason)
            if before.served:
                return replace(before, reason=f"serves as it was first loaded; its files have changed since: {reason}")
            return replace(before, state="failed", since=datetime.now(UTC), reason=reason)
        log.info("%s version %d is ready", before.model, before.number)
        return replace(before, state="ready", since=datetime.now(UTC), reason=None, served=served)

    def _served(self, path: Path) -> Served:
        """Read, check and warm one version; raises ArtifactError, or RuntimeError where the device fails."""
        settings = self._settings
        predictor = Predictor(artifact.read(path), self._device)
        columns = Columns([column.name for column in predictor.manifest.features], settings.max_rows)
        engine = Engine(
            predictor.run,
            predictor.warm(),
            self._worker,
            max_queue_rows=settings.max_queue_rows,
            max_loop_hold=settings.max_loop_hold_ms / 1000,
            max_wait=settings.max_wait_ms / 1000,
        )
        return Served(int(path.name), predictor, columns, engine)


@dataclass(frozen=True, slots=True)
class _Listing:
    path: Path
    versions: Mapping[int, _Identity]
    labels: Mapping[str, int]


def _model_folders(artifacts: Path) -> list[Path]:
    return sorted(path for path in artifacts.iterdir() if artifact.is_name(path.name) and path.is_dir())


def _listing(path: Path) -> _Listing:
    versions = {number: _identity(path / str(number)) for number in artifact.versions(path)}
    return _Listing(path, versions, artifact.labels(path))


def _identity(path: Path) -> _Identity:
    """Differs whenever a file of the version was put there anew, so that a version is not tried twice for nothing."""
    try:
        files = [(entry.name, entry.stat(follow_symlinks=False)) for entry in os.scandir(path)]
    except OSError as error:
        return ((os.strerror(error.errno or 0), 0, 0, 0),)
    return tuple(sorted((name, found.st_ino, found.st_mtime_ns, found.st_size) for name, found in files))


def _settled(model: Model) -> Model:
    """The model with its labels and its default worked out from what is ready."""
    ready = {number for number, version in model.versions.items() if version.served}
    serving = {
        label: number
        for label, wanted in model.labels.items()
        for number in (wanted if wanted in ready else model.serving.get(label, 0),)
        if number in ready
    }
    champion = model.labels.get(artifact.DEFAULT_LABEL, 0)
    awaited = champion in model.versions and model.versions[champion].state == "loading"
    number = serving.get(artifact.DEFAULT_LABEL, 0 if awaited else max(ready, default=0))
    return replace(model, serving=serving, default=model.versions.get(number))
