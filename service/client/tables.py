"""The kinds of table that a caller may hand in: what of them is sent, and how the same kind comes back.

Each says how many `rows` it has, gives the columns of a model's features, and takes the answers.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from service.client.answers import Answers
from service.client.errors import BadTable
from service.client.versions import Version

# A column's values in order: a list as the caller has it, a NumPy array of floats, or a pyarrow ChunkedArray.
Column: TypeAlias = Any
Columns: TypeAlias = dict[str, Column]


class Table(ABC):
    """A table for one version; `columns` are its features', `in_arrow` whether they lie in memory as Arrow's do."""

    in_arrow: ClassVar[bool] = True

    def __init__(self, table: Any, version: Version) -> None:  # noqa: ANN401 - what it is, is the class's business
        """Raises BadTable where a feature is missing, is not numbers, or has another number of rows."""
        self._table = table
        self._version = version
        self.columns: Columns = {name: self._column(name) for name in version.features}
        lengths = {name: len(column) for name, column in self.columns.items()}
        self.rows = lengths[version.features[0]]
        if set(lengths.values()) != {self.rows}:
            differ = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise BadTable(f"the columns differ in length: {differ}")

    @abstractmethod
    def _column(self, name: str) -> Column:
        """The values of a feature; raises BadTable."""

    @abstractmethod
    def with_answers(self, answers: Answers) -> Any:  # noqa: ANN401
        """A table of the same kind: this one, with the columns of the answers appended."""

    def _missing(self, name: str) -> BadTable:
        version = self._version
        return BadTable(
            f"the table has no column {name}; {version.model} version {version.number} needs "
            + ", ".join(version.features)
        )


class DictTable(Table):
    """A dict of columns: what is in it comes back as it was, and beside lists come lists."""

    in_arrow = False

    def _column(self, name: str) -> Column:
        if name not in self._table:
            raise self._missing(name)
        values = self._table[name]
        # A list is sent as it is: the service says of each value in it whether it is a number.
        return values if isinstance(values, list) else _numbers(name, np.asarray(values))

    def with_answers(self, answers: Answers) -> dict[Any, Any]:
        appended: Columns = answers.columns(self._version.targets, self._table)
        if any(isinstance(column, list) for column in self.columns.values()):
            appended = {name: _list(column) for name, column in appended.items()}
        return {**self._table, **appended}


class ArrayTable(Table):
    """A NumPy array ``[N, features]``, or ``[N]`` for one feature; back come ``[N, targets]`` float32.

    With an interval, ``[N, targets, 3]``: the prediction, its lower and its upper bound.
    """

    def __init__(self, table: NDArray[Any], version: Version) -> None:
        features = version.features
        array = table[:, None] if table.ndim == len(features) == 1 else table
        if array.ndim != 2 or array.shape[1] != len(features):
            raise BadTable(
                f"the array has the shape {list(table.shape)}; {version.model} version {version.number} takes "
                f"[N, {len(features)}]: {', '.join(features)}"
            )
        super().__init__(array, version)

    def _column(self, name: str) -> Column:
        return _numbers(name, self._table[:, self._version.features.index(name)])

    def with_answers(self, answers: Answers) -> NDArray[np.float32]:
        if answers.bounds is None:
            return answers.predictions
        return np.concatenate([answers.predictions[:, :, None], answers.bounds], axis=2)


class ArrowTable(Table):
    """A pyarrow Table; its columns go out as they are, whatever type they have."""

    def _column(self, name: str) -> Column:
        if (count := self._table.column_names.count(name)) > 1:
            raise BadTable(f"the table has {count} columns {name}")
        if not count:
            raise self._missing(name)
        return self._table.column(name)

    def with_answers(self, answers: Answers) -> Any:  # noqa: ANN401 - pyarrow is untyped, and may be absent
        table = self._table
        for name, column in answers.columns(self._version.targets, table.column_names).items():
            table = table.append_column(name, [column])
        return table


class FrameTable(Table):
    """A pandas DataFrame; its index is kept."""

    def _column(self, name: str) -> Column:
        if name not in self._table.columns:
            raise self._missing(name)
        series = self._table[name]
        if series.ndim != 1:
            raise BadTable(f"the table has {series.shape[1]} columns {name}")
        if series.dtype.kind not in "iuf":
            raise _not_numbers(name, series.dtype)
        return _numbers(name, series.to_numpy(dtype=np.float64, na_value=np.nan))

    def with_answers(self, answers: Answers) -> Any:  # noqa: ANN401 - as above
        frame = self._table.copy(deep=False)
        for name, column in answers.columns(self._version.targets, frame.columns).items():
            frame[name] = column
        return frame


def table_of(table: object, version: Version) -> Table:
    """The caller's table as one for this version; raises BadTable."""
    if isinstance(table, Mapping):
        return DictTable(table, version)
    if isinstance(table, np.ndarray):
        return ArrayTable(table, version)
    for library, name, kind in (("pyarrow", "Table", ArrowTable), ("pandas", "DataFrame", FrameTable)):
        # A library that was not imported has made no table.
        if library in sys.modules and isinstance(table, getattr(sys.modules[library], name)):
            return kind(table, version)
    raise BadTable(
        f"a {type(table).__name__} is no table: it takes a dict of columns, a NumPy array, a pyarrow Table "
        "or a pandas DataFrame"
    )


def _numbers(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """One-dimensional floats; what a masked array hides is NaN, which the service names and refuses."""
    if values.ndim != 1:
        raise BadTable(f"column {name} has the shape {list(values.shape)}: it has to have one dimension")
    if values.dtype.kind not in "iuf":
        raise _not_numbers(name, values.dtype)
    floats = values if values.dtype == np.float32 else values.astype(np.float64, copy=False)
    filled: NDArray[Any] = np.ma.filled(floats, np.nan)
    return filled


def _not_numbers(name: str, dtype: object) -> BadTable:
    return BadTable(f"column {name} holds {dtype}, and not integers or floats")


def _list(column: NDArray[Any]) -> list[Any]:
    """Python values; floats of the fewest digits that read back as the same float32."""
    written: list[Any] = orjson.loads(orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY))
    return written
