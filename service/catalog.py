"""What is published and what of it serves, at one moment: immutable, so that it can be read from any thread.

`service.store` makes each catalog from the one before.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, TypeAlias

from service import whole_number
from service.artifact import DEFAULT_LABEL, LABELS
from service.listing import Identity, shortened
from service.served import Served

State: TypeAlias = Literal["loading", "ready", "failed", "unloaded"]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model, its state, and since when it is in it; `served` exactly when it is ready.

    `digest` is the sha256 of the manifest that was loaded; `differs` says that its files are no longer what serves.
    After a failure that may pass, `again_at` is when to try again, by ``time.monotonic``, and `tries` how often it was.
    """

    model: str
    number: int
    state: State
    since: datetime
    reason: str | None = None
    served: Served | None = None
    identity: Identity = field(default=(), repr=False)
    digest: str = ""
    differs: bool = False
    tries: int = 0
    again_at: float | None = None

    def is_due(self, identity: Identity) -> bool:
        """Return whether to look at its files: they were touched, or it is time to try again what failed."""
        return self.identity != identity or (self.again_at is not None and time.monotonic() >= self.again_at)

    def is_news_after(self, before: "Version") -> bool:
        """Return whether it failed, and not again for the same passing reason as when it was tried last."""
        return self.state == "failed" and (before.again_at is None or before.reason != self.reason)

    def differing_columns(self, other: "Version") -> str | None:
        """Return how its columns differ from another version's, in words; None where they do not."""
        if not self.served or not other.served:
            return None
        mine, others = self.served.predictor.manifest, other.served.predictor.manifest
        if mine.has_columns_of(others):
            return None
        return f"its columns ({mine.columns_text}) differ from those of version {other.number} ({others.columns_text})"


@dataclass(frozen=True, slots=True)
class Model:
    """A model's versions by number, its labels, and what answers.

    `labels` are as the folder has them, or had them before their files were damaged: `faults` says how, by label, and
    `lost` are those of which nobody can know what they stood for.
    `serving` is the version each label stands for now: one that was moved to a version that is not ready stands for the
    one it named before. `default` is what `champion` stands for, else the highest ready version that has the columns of
    the lowest one. `notes` are what is wrong with the folder apart from its labels.
    """

    name: str
    versions: Mapping[int, Version]
    labels: Mapping[str, int]
    serving: Mapping[str, int]
    default: Version | None = None
    faults: Mapping[str, str] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    def find(self, reference: str) -> Version | None:
        """The version that a number or a label names."""
        number = self.serving.get(reference, self.labels.get(reference))
        if number is None:
            number = whole_number.version(reference)
        return self.versions.get(number or 0)

    def settled(self) -> "Model":
        """The same, with what is serving and the default worked out anew from what is ready."""
        ready = {number for number, version in self.versions.items() if version.served}
        # A label of which another worker said what it stands for may have to wait for that version.
        usable = ready | {number for number, version in self.versions.items() if version.state == "loading"}
        serving = {
            label: number
            for label, wanted in self.labels.items()
            for number in (wanted if wanted in ready else self.serving.get(label, 0),)
            if number in usable
        }
        settled = replace(self, serving=serving)
        return replace(settled, default=self.versions.get(settled._default_number(ready)))  # noqa: SLF001

    def warnings(self) -> tuple[str, ...]:
        """Return what is wrong with the model's folder and its labels, a sentence each."""
        # The default label first, whatever else there is.
        damaged = [self.damage(label) for label in sorted(self.faults, key=lambda label: label != DEFAULT_LABEL)]
        unready = [self._unready(label) for label in self.labels if label not in self.faults]
        return shortened([*self.notes, *damaged, *(text for text in unready if text)])

    def why_not_default(self, version: Version) -> str | None:
        """Return why a version does not answer by itself, though it is ready and no label says otherwise."""
        contract = self._contract()
        if contract is None or DEFAULT_LABEL in self.serving or (why := version.differing_columns(contract)) is None:
            return None
        return f"answers only by its number: {why}; {self.command(DEFAULT_LABEL, version.number)} makes it the default"

    def command(self, label: str, number: int | str = "N") -> str:
        """Return the command that makes a label stand for a version."""
        return f"`python -m training label {self.name} {label} {number}`"

    def damage(self, label: str) -> str:
        """Return what is wrong with a damaged label, what became of it, and the command that repairs it."""
        stands = self.serving.get(label, self.labels.get(label))
        if label in self.lost:
            became = f"nobody can know which version {label} stood for"
        else:
            became = f"{label} goes on standing for {f'version {stands}' if stands else 'no version'}"
        return f"{self.faults[label]}; {became}: repair it with {self.command(label, stands or 'N')}"

    def _default_number(self, ready: set[int]) -> int:
        if DEFAULT_LABEL in self.serving:
            return self.serving[DEFAULT_LABEL]
        if DEFAULT_LABEL in self.lost:
            return 0
        contract = self._contract()
        same = {number for number in ready if contract and not self.versions[number].differing_columns(contract)}
        found = max(same, default=0) if contract and contract.served else 0
        # While what could be the default loads, the default stays; at a start there is none yet.
        awaited = {number for number, version in self.versions.items() if version.state == "loading"}
        if not found or self.labels.get(DEFAULT_LABEL) in awaited or max(awaited, default=0) > found:
            return self.default.number if self.default and self.default.number in ready else 0
        return found

    def _contract(self) -> Version | None:
        """The version whose columns each default has to have: by numbers alone, so that all processes agree."""
        return next((self.versions[n] for n in sorted(self.versions) if self.versions[n].state != "failed"), None)

    def _unready(self, label: str) -> str | None:
        wanted = self.labels[label]
        version = self.versions.get(wanted)
        if version and version.state != "failed":
            return None
        what = "failed to load" if version else "is not there"
        kept = f"; it goes on standing for version {self.serving[label]}" if label in self.serving else ""
        return f"{LABELS}/{label}: names version {wanted}, which {what}{kept}"


@dataclass(frozen=True, slots=True)
class Catalog:
    """The folder at one moment: `default` is the model of its own choice, where that is there.

    `complete` once all of it was tried; `error` says why it could not be read, and `notes` what is wrong with it apart
    from its models. `default_lost` says that nobody can know its choice.
    """

    models: Mapping[str, Model] = field(default_factory=dict)
    default: str | None = None
    complete: bool = False
    error: str | None = None
    default_lost: bool = True
    notes: tuple[str, ...] = ()
