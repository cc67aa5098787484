"""What the service says of a table's rows, and the columns that this adds to the table."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.client.errors import BadTable

Appended: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Answers:
    """Float32 predictions ``[N, targets]`` and bool ``[N]``: which rows lie outside the range that training saw.

    `bounds` ``[N, targets, 2]`` are each prediction's lower and upper, where an interval was asked for.
    """

    predictions: NDArray[np.float32]
    bounds: NDArray[np.float32] | None
    out_of_range: NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts, in order."""
        bounds = [part.bounds for part in parts if part.bounds is not None]
        return cls(
            np.concatenate([part.predictions for part in parts]),
            np.concatenate(bounds) if bounds else None,
            np.concatenate([part.out_of_range for part in parts]),
        )

    def columns(self, targets: Sequence[str], taken: Collection[object]) -> Appended:
        """The columns for a table that has those `taken`: its own keep their names, a new one gets another."""
        columns: list[tuple[str, NDArray[Any]]] = [
            (target, self.predictions[:, at]) for at, target in enumerate(targets)
        ]
        if self.bounds is not None:
            for at, target in enumerate(targets):
                columns += [(f"{target}_lower", self.bounds[:, at, 0]), (f"{target}_upper", self.bounds[:, at, 1])]
        named = {_free(name, taken): column for name, column in [*columns, ("out_of_range", self.out_of_range)]}
        if len(named) <= len(columns):
            raise BadTable(f"two of the columns to append have one name: {', '.join(named)}")
        return named


def _free(name: str, taken: Collection[object]) -> str:
    if name not in taken:
        return name
    if (other := f"predicted_{name}") in taken:
        raise BadTable(f"the table has the columns {name} and {other} already: there is no name for the prediction")
    return other
