"""One version of a model, as a caller names it and as the service describes it."""

from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

from service.client.errors import expecting


@dataclass(frozen=True, slots=True)
class Version:
    """Which version of which model, and the names of its columns in and out; it never changes."""

    model: str
    number: str
    features: tuple[str, ...]
    targets: tuple[str, ...]

    @classmethod
    def described(cls, detail: Any) -> Self:  # noqa: ANN401 - JSON
        """From the answer of ``GET /models/{model}/versions/{version}``."""
        with expecting("a description of a version"):
            manifest = detail["manifest"]
            features, targets = (
                tuple(str(column["name"]) for column in manifest[columns]) for columns in ("features", "targets")
            )
            return cls(detail["model"], detail["version"], features, targets)

    @property
    def path(self) -> str:
        """What its own paths begin with."""
        return path(self.model, self.number)


def path(model: str | None, version: str | int | None = None) -> str:
    """What the paths of a model, or of one version of it, begin with; empty for the default model."""
    if model is None:
        return ""
    return f"/models/{quote(model, safe='')}" + ("" if version is None else f"/versions/{quote(str(version), safe='')}")
