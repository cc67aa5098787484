"""What is published and what of it serves, at one moment: immutable, so that it can be read from any thread.

`service.store` makes each catalog from the one before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, TypeAlias

from service import whole_number
from service.artifact import DEFAULT_LABEL
from service.served import Served

State: TypeAlias = Literal["loading", "ready", "failed", "unloaded"]
Identity: TypeAlias = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model, its state, and since when it is in it; `served` exactly when it is ready."""

    model: str
    number: int
    state: State
    since: datetime
    reason: str | None = None
    served: Served | None = None
    identity: Identity = field(default=(), repr=False)


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
        if number is None:
            number = whole_number.version(reference)
        return self.versions.get(number or 0)

    def settled(self) -> "Model":
        """The same, with what is serving and the default worked out anew from what is ready."""
        ready = {number for number, version in self.versions.items() if version.served}
        serving = {
            label: number
            for label, wanted in self.labels.items()
            for number in (wanted if wanted in ready else self.serving.get(label, 0),)
            if number in ready
        }
        champion = self.labels.get(DEFAULT_LABEL, 0)
        awaited = champion in self.versions and self.versions[champion].state == "loading"
        number = serving.get(DEFAULT_LABEL, 0 if awaited else max(ready, default=0))
        return replace(self, serving=serving, default=self.versions.get(number))


@dataclass(frozen=True, slots=True)
class Catalog:
    """The folder at one moment: `default` is the model of its own choice, where that is there.

    `complete` once all of it was tried; `error` says why it could not be read.
    """

    models: Mapping[str, Model] = field(default_factory=dict)
    default: str | None = None
    complete: bool = False
    error: str | None = None
