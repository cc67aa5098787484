"""``manifest.json`` and ``report.json``: what a version says of itself, as it is parsed."""

from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from service import column_names
from service.directory import FILE_MAX_BYTES, ArtifactError

FORMAT: Literal["calibrant/1"] = "calibrant/1"
NETWORK = "network.pt"
REPORT = "report.json"

NAME = r"[a-z][a-z0-9_-]{0,63}"

Name = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Rows: TypeAlias = tuple[tuple[Finite, ...], ...]
_Model = TypeVar("_Model", bound=BaseModel)


class _Contract(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Column(_Contract):
    """A feature or a target: its name, its unit if it has one, and the range seen in training, in that unit."""

    name: ColumnName
    type: Literal["float32"] = "float32"
    unit: str | None
    minimum: Finite
    maximum: Finite


class Parameter(_Contract):
    """A parameter of the point network, by the name that ``named_parameters`` gives it."""

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32"] = "float32"


class File(_Contract):
    """The digest and the size in bytes of one file of the version."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0, le=FILE_MAX_BYTES)]


class Golden(_Contract):
    """Known answers: inputs ``[N, features]``, outputs ``[N, targets]``, and how far off each target may be."""

    inputs: Rows
    outputs: Rows
    tolerance: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...]

    def first_wrong(self, outputs: torch.Tensor) -> int | None:
        """Which case `outputs` ``[N, targets]`` are the first not to reproduce; None where they reproduce all."""
        wrong = ~((outputs - torch.tensor(self.outputs)).abs() <= torch.tensor(self.tolerance)).all(dim=1)
        return int(wrong.nonzero()[0]) if wrong.any() else None


class Bounds(_Contract):
    """Known bounds ``[N, targets]`` of the golden inputs, at a rank; they may be as far off as the golden outputs."""

    rank: Annotated[int, Field(ge=1)]
    lower: Rows
    upper: Rows

    def first_wrong(self, golden: Golden, outputs: torch.Tensor) -> int | None:
        """As `Golden.first_wrong`, of ``[N, 3 targets]``: predictions, lower and upper bounds."""
        width = len(golden.tolerance)
        parts = (golden.outputs, self.lower, self.upper)
        wrong = [
            golden.model_copy(update={"outputs": part}).first_wrong(outputs[:, at * width : (at + 1) * width])
            for at, part in enumerate(parts)
        ]
        return min((case for case in wrong if case is not None), default=None)


class Interval(_Contract):
    """How the network bounds its answers: from how many readings, each left out by one of so many networks.

    Jackknife+ has a network for each reading, CV+ one for each fold.
    """

    method: Literal["jackknife+", "cv+"]
    readings: Annotated[int, Field(ge=1)]
    folds: Annotated[int, Field(ge=2)]
    golden: Bounds


class Data(_Contract):
    """Where the readings came from: file name, sha256 of its bytes, number of rows."""

    file: str
    sha256: Sha256
    rows: int


class Losses(_Contract):
    """The last of each loss curve, in the units that training saw: see docs/training.md."""

    training: Finite
    validation: Finite | None


class Training(_Contract):
    """How the network was made: enough to make it again."""

    recipe: dict[str, str | int | float | tuple[int, ...]]
    seed: int
    losses: Losses
    data: Data
    environment: dict[str, str]


class Manifest(_Contract):
    """``manifest.json``: what is needed to use ``network.pt`` without this project."""

    format: Literal["calibrant/1"] = FORMAT
    model: Name
    created: str
    features: Annotated[tuple[Column, ...], Field(min_length=1)]
    targets: Annotated[tuple[Column, ...], Field(min_length=1)]
    parameters: tuple[Parameter, ...]
    files: dict[FileName, File]
    golden: Golden
    interval: Interval | None = None
    training: Training

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        column_names.check([column.name for column in self.features], [column.name for column in self.targets])
        if missing := {NETWORK, REPORT} - set(self.files):
            raise ValueError(f"files lacks {', '.join(sorted(missing))}")
        golden = self.golden
        if not golden.inputs or len(golden.inputs) != len(golden.outputs):
            raise ValueError("golden needs as many outputs as inputs, and at least one")
        if {len(row) for row in golden.inputs} != {len(self.features)}:
            raise ValueError("golden.inputs does not have one value per feature")
        if {len(row) for row in golden.outputs} != {len(self.targets)} or len(golden.tolerance) != len(self.targets):
            raise ValueError("golden.outputs and golden.tolerance do not have one value per target")
        if self.interval:
            self._check_interval(self.interval)
        return self

    def _check_interval(self, interval: Interval) -> None:
        if interval.golden.rank > interval.readings or interval.folds > interval.readings:
            raise ValueError("interval has a rank, or more folds, than it has readings")
        if interval.method == "jackknife+" and interval.folds != interval.readings:
            raise ValueError("interval: jackknife+ has a fold for each reading")
        shape = [len(row) for row in self.golden.outputs]
        if any([len(row) for row in bound] != shape for bound in (interval.golden.lower, interval.golden.upper)):
            raise ValueError("interval.golden does not have the shape of golden.outputs")


class Report(_Contract):
    """``report.json``: the training record. Readings, predictions and residuals are columns over the kept rows."""

    losses: dict[Literal["training", "validation"], tuple[Finite, ...]]
    gradients: dict[str, Any]
    rows: tuple[int, ...]
    validation_rows: tuple[int, ...]
    readings: dict[str, tuple[Finite, ...]]
    predictions: dict[str, tuple[Finite, ...]]
    residuals: dict[str, tuple[Finite, ...]]
    training: Training


def parse(kind: type[_Model], content: bytes, name: str) -> _Model:
    """The document that a file holds; raises ArtifactError that says what is wrong, and where in it."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        what = {"extra_forbidden": "unknown key", "missing": "missing key"}.get(first["type"], first["msg"])
        what = what.removeprefix("Value error, ")
        if where == "format":
            what = f"unknown format; this reader knows {FORMAT}"
        raise ArtifactError(f"{name}: {where}: {what}" if where else f"{name}: {what}") from error
