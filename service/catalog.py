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
from service.directory import Place
from service.interface import Interface, agreed
from service.listing import Identity, shortened
from service.served import Served

State: TypeAlias = Literal["loading", "ready", "failed", "unloaded"]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model, its state, and since when it is in it; `served` exactly when it is ready.

    `digest` is the sha256 of the manifest that was loaded; `differs` says that its files are no longer what serves.
    `interface` is what it takes and gives, also where it failed and that is known all the same.
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
    interface: Interface | None = None
    tries: int = 0
    again_at: float | None = None

    def is_due(self, identity: Identity) -> bool:
        """Return whether to look at its files: they were touched, or it is time to try again what failed."""
        return self.identity != identity or (self.again_at is not None and time.monotonic() >= self.again_at)

    def is_news_after(self, before: "Version") -> bool:
        """Return whether it failed, and not again for the same passing reason as when it was tried last."""
        return self.state == "failed" and (before.again_at is None or before.reason != self.reason)


@dataclass(frozen=True, slots=True)
class Model:
    """A model's versions by number, ascending, its labels, and what answers.

    `labels` are as the folder has them, or had them before their files were damaged: `faults` says how, by label, and
    `lost` are those of which nobody can know what they stood for.
    `serving` is the version each label stands for now: one that was moved to a version that is not ready stands for the
    one it named before. `default` is what `champion` stands for, else the highest ready version that has the columns of
    the lowest one, whether that one loads or not. Where nobody can know these columns, the default stays what it was;
    for one of several workers that starts then, what it is in the others: `inherited`. `labels_place` tells the folder
    of labels from another one that lies there later. `notes` are what is wrong with the folder apart from its labels.
    """

    name: str
    versions: Mapping[int, Version]
    labels: Mapping[str, int]
    serving: Mapping[str, int]
    default: Version | None = None
    faults: Mapping[str, str] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()
    inherited: int = 0
    labels_place: Place | None = None
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
        unknown = [self._unknown_columns()]
        return shortened([*self.notes, *damaged, *(text for text in (*unready, *unknown) if text)])

    @property
    def interface(self) -> Interface | None:
        """What a version has to take and give to become the default by itself; None where nobody can know.

        It is what the lowest version does, loaded or not. Where that cannot be known, all others have to agree.
        """
        lowest = self._lowest
        if lowest.interface or lowest.state != "failed" or self._is_loading:
            return lowest.interface
        return agreed(version.interface for version in self.versions.values() if version.interface)

    def why_not_default(self, version: Version) -> str | None:
        """Return why a version does not answer by itself, though it is ready and no label says otherwise."""
        if DEFAULT_LABEL in self.serving or not version.served:
            return None
        mine, wanted = version.interface, self.interface
        if not mine or not wanted or mine.fits(wanted):
            return None
        return (
            f"answers only by its number: its columns ({mine}) differ from those of the model ({wanted}); "
            f"{self.command(DEFAULT_LABEL, version.number)} makes it the default"
        )

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
        wanted = self.interface
        same = {n for n in ready if wanted and (mine := self.versions[n].interface) and mine.fits(wanted)}
        found = max(same, default=0)
        # While what could be the default loads, the default stays; at a start there is none yet.
        awaited = {number for number, version in self.versions.items() if version.state == "loading"}
        if not found or self.labels.get(DEFAULT_LABEL) in awaited or max(awaited, default=0) > found:
            kept = self.default.number if self.default else self.inherited
            return kept if kept in ready else 0
        return found

    @property
    def _lowest(self) -> Version:
        return next(iter(self.versions.values()))

    @property
    def _is_loading(self) -> bool:
        return any(version.state == "loading" for version in self.versions.values())

    def _unknown_columns(self) -> str | None:
        """Return why no version becomes the default by itself, where nobody can know which columns that has to have."""
        lowest, ready = self._lowest, any(version.served for version in self.versions.values())
        if not ready or self._is_loading or lowest.state != "failed" or self.interface or DEFAULT_LABEL in self.serving:
            return None
        stays = f"version {self.default.number} stays it until the next start: " if self.default else ""
        return (
            f"its versions have different columns, and nobody can know those of version {lowest.number}, which its "
            f"default has to have; {stays}{self.command(DEFAULT_LABEL)} makes a version the default"
        )

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
