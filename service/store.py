"""Follows the artifacts folder: loads what is published, and says why the rest does not serve. Knows no HTTP.

`Store.refresh` makes a new `Catalog` beside the one in use and puts it in place by one assignment, so that whoever
holds a version keeps it until its last request is answered.
"""

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from service.artifact import DEFAULT_MODEL, ArtifactError
from service.catalog import Catalog, Model, Version
from service.listing import Folder, Listing, Seen
from service.loading import Loader
from service.settings import Settings
from service.shared import Shared
from service.signing import PublicKey

log = logging.getLogger("calibrant.store")


class Store:
    """Follows the artifacts folder; what changes `catalog` waits for its turn, and may take long.

    `swaps` counts by model how often another version became the default, `failed_loads` those that did not go live.
    What is public is read from any thread.
    """

    def __init__(
        self, settings: Settings, device: torch.device, public_key: PublicKey | None, snapshot: Path | None = None
    ) -> None:
        """With `public_key`, only versions that its owner signed are loaded; `snapshot` as in `Shared`."""
        self.catalog = Catalog()
        self.swaps: Counter[str] = Counter()
        self.failed_loads: Counter[str] = Counter()
        self._shared = Shared(snapshot)
        self._folder = Folder(settings.artifacts, self._shared.labels)
        self._loader = Loader(settings, device, public_key)
        self._closed = False
        self._turn = threading.Lock()
        self._unloaded: set[str] = set()
        self._warned: set[str] = set()

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

    def close(self) -> None:
        """Answer what waits, load no more, and end the worker thread."""
        self._closed = True
        self._loader.end_trial()
        for model in self.catalog.models.values():
            for version in model.versions.values():
                if version.served:
                    for engine in version.served.engines:
                        engine.close()
        self._loader.close()

    def _refresh(self) -> None:
        before = self.catalog
        try:
            seen = self._folder.look()
        except ArtifactError as error:
            reason = str(error)
            if before.error != reason:
                log.error(reason, extra={"reason": reason})
            self.catalog = replace(before, complete=True, error=reason)
            return
        models = {name: self._known(listing, before) for name, listing in seen.models.items()}
        default, fault, lost = self._default(seen, before)
        notes = (*seen.warnings, *([fault] if fault else []))
        self._put(Catalog(models, default, before.complete, default_lost=lost, notes=notes))
        for name, listing in seen.models.items():
            for number in self._in_order(listing):
                if self._closed:
                    return
                self._look_at(name, listing, number)
        self.catalog = replace(self.catalog, complete=True)
        self._warn()

    def _default(self, seen: Seen, before: Catalog) -> tuple[str | None, str | None, bool]:
        """Return the default model, what is wrong with the file that names one, and whether it is lost by that.

        The default model stays until the file names another one that is there.
        """
        if seen.default in seen.models:
            return seen.default, None, False
        only = next(iter(seen.models)) if len(seen.models) == 1 else None
        if seen.default is None and seen.default_fault is None:
            return only, None, False
        kept = before.default or self._shared.default()
        found = kept if kept in seen.models else only
        if seen.default_fault is None:
            return found, f"{DEFAULT_MODEL}: names {seen.default}, and there is no such model", False
        return found, seen.default_fault, found is None and before.default_lost

    def _known(self, listing: Listing, before: Catalog) -> Model:
        """The model with the versions that were there already; the new ones as loading."""
        name, found = listing.path.name, listing.labels
        old = before.models.get(name)
        known = old or self._shared.known(name)
        earlier = known.labels if known else {}
        kept = {label: number for label, number in earlier.items() if found.fault or label in found.faults}
        lost = frozenset(label for label in found.faults if label not in kept and (not known or label in known.lost))
        seen = old.versions if old else {}
        return Model(
            name,
            {number: seen.get(number) or self._new(name, number) for number in listing.versions},
            labels={**kept, **found.versions},
            serving=known.serving if known else {},
            default=old.default if old else None,
            inherited=known.inherited if known else 0,
            labels_place=found.place,
            faults=found.faults,
            lost=lost,
            notes=(*listing.warnings, *found.notes()),
        ).settled()

    def _in_order(self, listing: Listing) -> Iterator[int]:
        """Yield the lowest version, as its columns are the model's; then from the highest down."""
        lowest, *others = sorted(listing.versions)
        return iter((lowest, *reversed(others)))

    def _look_at(self, name: str, listing: Listing, number: int) -> None:
        model = self.catalog.models[name]
        before, identity = model.versions[number], listing.versions[number]
        if name in self._unloaded or not before.is_due(identity):
            return
        path = listing.path / str(number)
        if before.served:
            after = self._loader.compared(path, before, before.served)
        else:
            after = self._loader.loaded(path, before, self._shared.digests(name))
            self.failed_loads[name] += after.is_news_after(before)
            if not after.served and (known := self._shared.interface(name, number)):
                after = replace(after, interface=known)
        self._put_model(replace(model, versions={**model.versions, number: replace(after, identity=identity)}))

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
        self._shared.write(catalog)

    def _warn(self) -> None:
        """Log what is wrong with the folder once, when it begins."""
        catalog = self.catalog
        warnings = dict.fromkeys(catalog.notes, "")
        for name, model in catalog.models.items():
            others = {f"version {v.number} {why}" for v in model.versions.values() if (why := model.why_not_default(v))}
            warnings |= dict.fromkeys((f"{name}: {text}" for text in (*model.warnings(), *others)), name)
        for text, name in warnings.items():
            if text not in self._warned:
                log.warning(text, extra={"model": name, "reason": text})
        self._warned = set(warnings)
