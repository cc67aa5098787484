"""``manifest.json``: what a version says of itself. Every number has a range that makes sense, and fields agree."""

from itertools import chain
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator

from service import column_names
from service.contract import (
    Cases,
    ColumnName,
    Contract,
    Count,
    DateTime,
    FileName,
    Finite,
    Float32,
    Name,
    ParameterName,
    Printable,
    Setting,
    Sha256,
    Word,
    text_of,
)
from service.directory import FILE_MAX_BYTES
from service.interface import Interface

FORMAT: Literal["calibrant/1"] = "calibrant/1"
NETWORK = "network.pt"
REPORT = "report.json"

UNIT_MAX_LENGTH = 100
# Of a version: how many files, how large all of them and the two that the service keeps in memory may be.
FILES_MAX = 64
FILES_MAX_BYTES = 4 * 2**30
KEPT_MAX_BYTES = {NETWORK: 512 * 2**20, REPORT: 512 * 2**20}
# A tolerance proves something where it is small beside the outputs; `fit` writes a thousandth of this share.
TOLERANCE_MAX_SHARE = 0.01
# Golden inputs lie in the training range, or at most so many times its length outside.
GOLDEN_MAX_DISTANCE = 10
_PARAMETERS_MAX = 1000


class Column(Contract):
    """A feature or a target: its name, its unit if it has one, and the range seen in training, in that unit."""

    name: ColumnName
    type: Literal["float32"] = "float32"
    unit: Annotated[str, text_of(UNIT_MAX_LENGTH), Printable] | None
    minimum: Float32
    maximum: Float32

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        return self


class Parameter(Contract):
    """A parameter of the point network, by the name that ``named_parameters`` gives it."""

    name: ParameterName
    shape: Annotated[tuple[Annotated[int, Field(ge=1, le=2**31)], ...], Field(max_length=8)]
    dtype: Literal["float32"] = "float32"


class File(Contract):
    """The digest and the size in bytes of one file of the version."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0, le=FILE_MAX_BYTES)]


class Golden(Contract):
    """Known answers: inputs ``[N, features]``, outputs ``[N, targets]``, and how far off each target may be."""

    inputs: Cases
    outputs: Cases
    tolerance: Annotated[
        tuple[Annotated[Float32, Field(gt=0)], ...], Field(min_length=1, max_length=column_names.COLUMNS_MAX)
    ]

    def first_wrong(self, outputs: torch.Tensor) -> int | None:
        """Which case `outputs` ``[N, targets]`` are the first not to reproduce; None where they reproduce all."""
        wrong = ~((outputs - torch.tensor(self.outputs)).abs() <= torch.tensor(self.tolerance)).all(dim=1)
        return int(wrong.nonzero()[0]) if wrong.any() else None


class Bounds(Contract):
    """Known bounds ``[N, targets]`` of the golden inputs, at a rank; they may be as far off as the golden outputs."""

    rank: Count
    lower: Cases
    upper: Cases

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for lower, upper in zip(chain(*self.lower), chain(*self.upper), strict=False):
            if lower > upper:
                raise ValueError(f"a lower bound, {lower}, is above its upper one, {upper}")
        return self

    def first_wrong(self, golden: Golden, outputs: torch.Tensor) -> int | None:
        """As `Golden.first_wrong`, of ``[N, 3 targets]``: predictions, lower and upper bounds."""
        width = len(golden.tolerance)
        parts = (golden.outputs, self.lower, self.upper)
        wrong = [
            golden.model_copy(update={"outputs": part}).first_wrong(outputs[:, at * width : (at + 1) * width])
            for at, part in enumerate(parts)
        ]
        return min((case for case in wrong if case is not None), default=None)


class Interval(Contract):
    """How the network bounds its answers: from how many readings, each left out by one of so many networks.

    Jackknife+ has a network for each reading, CV+ one for each fold.
    """

    method: Literal["jackknife+", "cv+"]
    readings: Count
    folds: Annotated[Count, Field(ge=2)]
    golden: Bounds

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.golden.rank > self.readings or self.folds > self.readings:
            raise ValueError("has a rank, or more folds, than it has readings")
        if self.method == "jackknife+" and self.folds != self.readings:
            raise ValueError("jackknife+ has a fold for each reading")
        return self


class Data(Contract):
    """Where the readings came from: file name, sha256 of its bytes, number of rows."""

    file: Annotated[str, text_of(255)]
    sha256: Sha256
    rows: Count


class Losses(Contract):
    """The last of each loss curve, in the units that training saw: see docs/training.md."""

    training: Finite
    validation: Finite | None


class Training(Contract):
    """How the network was made: enough to make it again."""

    recipe: Annotated[dict[Word, Setting], Field(max_length=64)]
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    losses: Losses
    data: Data
    environment: Annotated[dict[Word, Annotated[Word, Field(max_length=100)]], Field(max_length=64)]


class Manifest(Contract):
    """``manifest.json``: what is needed to use ``network.pt`` without this project."""

    format: Literal["calibrant/1"] = FORMAT
    model: Name
    created: DateTime
    features: Annotated[tuple[Column, ...], Field(min_length=1, max_length=column_names.COLUMNS_MAX)]
    targets: Annotated[tuple[Column, ...], Field(min_length=1, max_length=column_names.COLUMNS_MAX)]
    parameters: Annotated[tuple[Parameter, ...], Field(max_length=_PARAMETERS_MAX)]
    files: Annotated[dict[FileName, File], Field(max_length=FILES_MAX)]
    golden: Golden
    interval: Interval | None = None
    training: Training

    @property
    def interface(self) -> Interface:
        """What it takes and gives."""
        return Interface(
            tuple((column.name, column.unit) for column in self.features),
            tuple((column.name, column.unit) for column in self.targets),
        )

    @field_validator("format", mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        if value != FORMAT:
            raise ValueError(f"unknown format; this reader knows {FORMAT}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        column_names.check([column.name for column in self.features], [column.name for column in self.targets])
        if len({parameter.name for parameter in self.parameters}) < len(self.parameters):
            raise ValueError("parameters: two have the same name")
        self._check_files()
        self._check_golden()
        if self.interval:
            self._check_interval(self.interval.golden)
        return self

    def _check_files(self) -> None:
        if missing := {NETWORK, REPORT} - set(self.files):
            raise ValueError(f"files lacks {', '.join(sorted(missing))}")
        for name, limit in KEPT_MAX_BYTES.items():
            if self.files[name].size > limit:
                raise ValueError(f"files.{name}.size: is more than {limit} bytes")
        if sum(file.size for file in self.files.values()) > FILES_MAX_BYTES:
            raise ValueError(f"files: have more than {FILES_MAX_BYTES} bytes together")

    def _check_golden(self) -> None:
        golden = self.golden
        if not golden.inputs or len(golden.inputs) != len(golden.outputs):
            raise ValueError("golden needs as many outputs as inputs, and at least one")
        if {len(row) for row in golden.inputs} != {len(self.features)}:
            raise ValueError("golden.inputs does not have one value per feature")
        if {len(row) for row in golden.outputs} != {len(self.targets)} or len(golden.tolerance) != len(self.targets):
            raise ValueError("golden.outputs and golden.tolerance do not have one value per target")
        self._check_inputs()
        self._check_tolerance()

    def _check_inputs(self) -> None:
        for at, (feature, values) in enumerate(zip(self.features, zip(*self.golden.inputs, strict=True), strict=True)):
            reach = GOLDEN_MAX_DISTANCE * (feature.maximum - feature.minimum)
            if min(values) < feature.minimum - reach or max(values) > feature.maximum + reach:
                raise ValueError(f"golden.inputs: one of features.{at} is far outside the range seen in training")

    def _check_tolerance(self) -> None:
        for at, (target, values) in enumerate(zip(self.targets, zip(*self.golden.outputs, strict=True), strict=True)):
            size = max(target.maximum - target.minimum, *map(abs, values))
            if self.golden.tolerance[at] > TOLERANCE_MAX_SHARE * size:
                share = f"{TOLERANCE_MAX_SHARE:.0%}".replace("%", " %")
                raise ValueError(f"golden.tolerance.{at}: is above {share} of {size:g}, so that it would prove nothing")

    def _check_interval(self, golden: Bounds) -> None:
        shape = [len(row) for row in self.golden.outputs]
        if any([len(row) for row in bound] != shape for bound in (golden.lower, golden.upper)):
            raise ValueError("interval.golden does not have the shape of golden.outputs")
