"""``report.json``: the training record, and what it has to agree on with the manifest."""

from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, TypeAlias

import torch
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from service.contract import ColumnName, Contract, Finite, Float32, ParameterName
from service.directory import ArtifactError
from service.manifest import REPORT, Manifest, Parameter, Training

Curve: TypeAlias = Annotated[tuple[Finite, ...], Field(min_length=1)]
Table: TypeAlias = dict[ColumnName, tuple[Float32, ...]]
RowNumbers: TypeAlias = tuple[Annotated[int, Field(ge=0)], ...]


@lru_cache
def _nested(depth: int) -> TypeAdapter[Any]:
    """Return what checks numbers in lists of this depth."""
    kind: Any = Float32
    for _ in range(depth):
        kind = list[kind]
    return TypeAdapter(kind)


class Report(Contract):
    """``report.json``: the training record. Readings, predictions and residuals are columns over the kept rows."""

    losses: dict[Literal["training", "validation"], Curve]
    gradients: dict[ParameterName, Any]
    rows: RowNumbers
    validation_rows: RowNumbers
    readings: Table
    predictions: Table
    residuals: Table
    training: Training

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, rows in (("rows", self.rows), ("validation_rows", self.validation_rows)):
            if any(after <= before for before, after in pairwise(rows)):
                raise ValueError(f"{name}: are not ascending")
            if rows and rows[-1] >= self.training.data.rows:
                raise ValueError(f"{name}: row {rows[-1]} is none of the {self.training.data.rows} of the data")
        self._check_losses()
        for name, table in self._tables().items():
            for column, values in table.items():
                if len(values) != len(self.rows):
                    raise ValueError(f"{name}.{column}: has {len(values)} values for {len(self.rows)} rows")
        return self

    def _check_losses(self) -> None:
        last = {name: curve[-1] for name, curve in self.losses.items()}
        final = self.training.losses.model_dump(exclude_none=True)
        if last != final:
            raise ValueError("losses: do not end with those of training.losses")

    def _tables(self) -> Mapping[str, Table]:
        return {"readings": self.readings, "predictions": self.predictions, "residuals": self.residuals}

    def check(self, manifest: Manifest) -> None:
        """Raise ArtifactError where it is not the report of the version with this manifest."""
        if self.training != manifest.training:
            raise ArtifactError(f"{REPORT}: training: is not what the manifest says")
        targets = {column.name for column in manifest.targets}
        for name, table in self._tables().items():
            wanted = targets | {column.name for column in manifest.features} if name == "readings" else targets
            if wrong := min(set(table) ^ wanted, default=None):
                what = "is no column that the manifest has there" if wrong in table else "missing key"
                raise ArtifactError(f"{REPORT}: {name}.{wrong}: {what}")
        if unknown := min(set(self.gradients) - {parameter.name for parameter in manifest.parameters}, default=None):
            raise ArtifactError(f"{REPORT}: gradients.{unknown}: is no parameter that the manifest has")

    def gradient(self, parameter: Parameter) -> torch.Tensor:
        """Return the gradient of a parameter; raise ArtifactError where it is missing, or is no such array."""
        name = parameter.name
        try:
            numbers = _nested(len(parameter.shape)).validate_python(self.gradients[name], strict=True)
            gradient = torch.tensor(numbers, dtype=torch.float32)
        except (KeyError, ValueError, ValidationError) as error:
            raise ArtifactError(f"{REPORT}: has no gradient of {name}, of finite float32 numbers") from error
        if tuple(gradient.shape) != parameter.shape:
            raise ArtifactError(f"{REPORT}: the gradient of {name} has another shape")
        return gradient
