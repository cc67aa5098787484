"""Follows the artifacts folder: loads what is published, and says why the rest does not serve. Knows no HTTP.

`Store.refresh` makes a new `Catalog` beside the one in use and puts it in place by one assignment, so that whoever
holds a version keeps it until its last request is answered.
"""

import logging
import os
import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from service import artifact
from service.catalog import Catalog, Identity, Model, Version
from service.cost import Cost
from service.engine import Engine, Run
from service.predictor import Predictor
from service.served import Served
from service.settings import Settings
from service.signing import PublicKey
from service.tables.json import Columns
from service.trial import Trials

log = logging.getLogger("calibrant.store")


class Store:
    """Follows the artifacts folder; what changes `catalog` waits for its turn, and may take long.

    `swaps` counts by model how often another version became the default, `failed_loads` those that did not go live.
    What is public is read from any thread.
    """

    def __init__(self, settings: Settings, device: torch.device, public_key: PublicKey | None) -> None:
        """With `public_key`, only versions that its owner signed are loaded."""
        self.catalog = Catalog()
        self._settings = settings
        self._public_key = public_key
        self._device = device
        self._closed = False
        self._trials = Trials()
        self._turn = threading.Lock()
        self._unloaded: set[str] = set()
        self.swaps: Counter[str] = Counter()
        self.failed_loads: Counter[str] = Counter()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    def refresh(self) -> None:
        """Load what is new, forget what is gone, move the labels; whatever fails leaves what serves as it is."""
        with self._turn:
            self._refresh()

    def load(self, name: str) -> None:
        """Refresh, taking that model back into service, and trying again what failed of it."""
        with self._turn:
            self._unloaded.discard(name)
            self._begin_anew(name, keep_ready=True)
            self._refresh()

    def unload(self, name: str) -> None:
        """Take that model out of service until it is loaded; who holds a version of it keeps it."""
        with self._turn:
            self._unloaded.add(name)
            self._begin_anew(name, keep_ready=False)
        log.info("%s was unloaded", name, extra={"model": name})

    def _refresh(self) -> None:
        before = self.catalog
        try:
            first = artifact.default_model(self._settings.artifacts)
            listings = [_listing(path) for path in _model_folders(self._settings.artifacts)]
        except OSError as error:
            reason = f"the artifacts folder cannot be read: {os.strerror(error.errno or 0).lower()}"
            if before.error != reason:
                log.error(reason, extra={"reason": reason})
            self.catalog = replace(before, complete=True, error=reason)
            return
        # A folder without a version is no model: its first publisher may have been stopped half-way.
        found = {listing.path.name: listing for listing in listings if listing.versions}
        known = {name: self._known(name, listing, before) for name, listing in found.items()}
        default = first if first in known else next(iter(known)) if len(known) == 1 else None
        self._put(Catalog(known, default, complete=before.complete))
        for name in known:
            for number in sorted(found[name].versions, reverse=True):
                if self._closed:
                    return
                self._load_if_new(name, found[name], number)
        self.catalog = replace(self.catalog, complete=True)

    def close(self) -> None:
        """Answer what waits, load no more, and end the worker thread."""
        self._closed = True
        self._trials.close()
        for model in self.catalog.models.values():
            for version in model.versions.values():
                if version.served:
                    for engine in version.served.engines:
                        engine.close()
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _known(self, name: str, listing: "_Listing", before: Catalog) -> Model:
        """The model with the versions that were there already; the new ones as loading."""
        old = before.models.get(name)
        seen = old.versions if old else {}
        versions = {number: seen.get(number) or self._new(name, number) for number in listing.versions}
        return Model(name, versions, listing.labels, old.serving if old else {}).settled()

    def _load_if_new(self, name: str, listing: "_Listing", number: int) -> None:
        model = self.catalog.models[name]
        before, identity = model.versions[number], listing.versions[number]
        if before.identity == identity or name in self._unloaded:
            return
        version = replace(self._load(listing.path / str(number), before), identity=identity)
        self._put_model(replace(model, versions={**model.versions, number: version}))

    def _begin_anew(self, name: str, *, keep_ready: bool) -> None:
        model = self.catalog.models.get(name)
        if model is not None:
            kept = {number: version for number, version in model.versions.items() if version.served and keep_ready}
            self._put_model(replace(model, versions={n: kept.get(n) or self._new(name, n) for n in model.versions}))

    def _new(self, name: str, number: int) -> Version:
        """A version of which nothing is known yet."""
        if name in self._unloaded:
            return Version(name, number, "unloaded", datetime.now(UTC), "the model was unloaded")
        return Version(name, number, "loading", datetime.now(UTC))

    def _put_model(self, model: Model) -> None:
        self._put(replace(self.catalog, models={**self.catalog.models, model.name: model.settled()}))

    def _put(self, catalog: Catalog) -> None:
        """Put it in place of the one in use, and count the models that answer with another version now."""
        for name, model in catalog.models.items():
            before = self.catalog.models.get(name)
            if before and before.default and model.default and before.default.number != model.default.number:
                self.swaps[name] += 1
                said = {"model": name, "version": model.default.number}
                log.info("%s answers with version %d", name, model.default.number, extra=said)
        self.catalog = catalog

    def _load(self, path: Path, before: Version) -> Version:
        try:
            served = self._served(path)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one version is no other one's trouble
            reason = str(error) or type(error).__name__
            self.failed_loads[before.model] += 1
            said = {"model": before.model, "version": before.number, "reason": reason}
            log.error("%s version %d does not go live: %s", before.model, before.number, reason, extra=said)
            if before.served:
                return replace(before, reason=f"serves as it was first loaded; its files have changed since: {reason}")
            return replace(before, state="failed", since=datetime.now(UTC), reason=reason)
        said = {"model": before.model, "version": before.number}
        log.info("%s version %d is ready", before.model, before.number, extra=said)
        return replace(before, state="ready", since=datetime.now(UTC), reason=None, served=served)

    def _served(self, path: Path) -> Served:
        """Read, check and warm one version; raises ArtifactError, or what torch raises where the device fails."""
        settings = self._settings
        predictor = Predictor(self._trials.read(path, self._public_key), self._device)
        columns = Columns([column.name for column in predictor.manifest.features], settings.max_rows)
        engine, bounding = self._engine(predictor.run, predictor.warm()), None
        if interval := predictor.manifest.interval:
            bounding = self._engine(predictor.run_interval, predictor.warm_interval(interval))
        return Served(int(path.name), predictor, columns, engine, bounding)

    def _engine(self, run: Run, cost: Cost) -> Engine:
        settings = self._settings
        return Engine(
            run,
            cost,
            self._worker,
            max_queue_rows=settings.max_queue_rows,
            max_loop_hold=settings.max_loop_hold_ms / 1000,
            max_wait=settings.max_wait_ms / 1000,
        )


@dataclass(frozen=True, slots=True)
class _Listing:
    path: Path
    versions: Mapping[int, Identity]
    labels: Mapping[str, int]


def _model_folders(artifacts: Path) -> list[Path]:
    return sorted(path for path in artifacts.iterdir() if artifact.is_name(path.name) and path.is_dir())


def _listing(path: Path) -> _Listing:
    versions = {number: _identity(path / str(number)) for number in artifact.versions(path)}
    return _Listing(path, versions, artifact.labels(path))


def _identity(path: Path) -> Identity:
    """Differs whenever a file of the version was put there anew, so that a version is not tried twice for nothing."""
    try:
        files = [(entry.name, entry.stat(follow_symlinks=False)) for entry in os.scandir(path)]
    except OSError as error:
        return ((os.strerror(error.errno or 0), 0, 0, 0),)
    return tuple(sorted((name, found.st_ino, found.st_mtime_ns, found.st_size) for name, found in files))
