"""What a table is in any form: the rows that the network sees, and the columns that its answer repeats."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.column_names import OUT_OF_RANGE, bounds_of, of_layer, predicted
from service.entry import Rows
from service.outputs import Outputs
from service.problems import Fault, TooLarge, WrongValues, pointer

# The largest number that is a finite float32 once it is rounded: 3.4028235e+38 is how the largest of these is written.
FLOAT32_MAX = math.nextafter(2.0**128 - 2.0**103, 0.0)
# What is read or written at once: between two blocks, the event loop gets its turn.
BLOCK_ROWS = 8192

Places: TypeAlias = Callable[[Sequence[int], str], list[str]]
Values: TypeAlias = NDArray[np.float32] | NDArray[np.bool_] | list[str]


class Table:
    """A checked table: `rows` is ``[N, features]``, `names` are all its columns in their order.

    This one has no columns but its features, as JSON cannot have any.
    """

    def __init__(self, rows: Rows, features: Sequence[str], names: Sequence[str] = ()) -> None:
        self.rows = rows
        self.features = tuple(features)
        self.names = tuple(names) or self.features

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def values(self) -> int:
        """How many there are, names and those of other columns too."""
        return (len(self) + 1) * len(self.names)

    def blocks(self) -> Iterator[tuple[slice, Mapping[str, Values]]]:
        """Which rows, and every column of them by its name: as float32, or as text."""
        for rows in blocks(len(self)):
            yield rows, dict(zip(self.features, self.rows[rows].T, strict=True))

    def places(self, rows: Sequence[int], name: str) -> list[str]:
        """Where these rows have that column, as an error says it."""
        return json_places(rows, name)


def json_places(rows: Sequence[int], name: str) -> list[str]:
    """JSON pointers to that column's values."""
    return [pointer((name, row)) for row in rows]


def blocks(count: int) -> Iterator[slice]:
    """So many rows, a block at a time."""
    return (slice(start, min(start + BLOCK_ROWS, count)) for start in range(0, count, BLOCK_ROWS))


def prediction_columns(table: Table, targets: Sequence[str], outputs: Outputs) -> dict[str, Values]:
    """What an answer has behind the table's own columns; raises WrongValues where a name is taken.

    A target whose name the table has, such as what was measured, is answered as ``predicted_<target>``. Behind it are
    its bounds, ``<target>_lower`` and ``<target>_upper``, where there are any.
    """
    columns: list[tuple[str, Values]] = []
    values, count = outputs.predictions.T, len(targets)
    for at, target in enumerate(targets):
        # All predictions are before all lower bounds, and these before all upper ones.
        named = zip((target, *bounds_of(target)), values[at::count], strict=False)
        columns += [(predicted(name) if name in table.names else name, column) for name, column in named]
    columns.append((OUT_OF_RANGE, outputs.out_of_range))
    return _free(table, columns)


def activation_columns(table: Table, activations: Mapping[str, NDArray[np.float32]]) -> dict[str, Values]:
    """The same for layers: a column ``<layer>_<index>`` for each of their values."""
    return _free(
        table,
        [
            (of_layer(layer, index), values)
            for layer, outputs in activations.items()
            for index, values in enumerate(outputs.T)
        ],
    )


def _free(table: Table, columns: Iterable[tuple[str, Values]]) -> dict[str, Values]:
    added: dict[str, Values] = {}
    taken = set(table.names)
    for name, values in columns:
        if name in taken:
            fault = Fault(f"column {name}", "is what the answer calls a column of its own; give it another name")
            raise WrongValues(f"the answer would have two columns {name}", faults=[fault])
        taken.add(name)
        added[name] = values
    return added


def check_count(count: int, max_rows: int) -> None:
    """Raise TooLarge for more rows than one request may have."""
    if count > max_rows:
        raise TooLarge(f"there are more rows than the {max_rows} that one request may have")


def check_names(names: Sequence[str], features: Sequence[str], place: str = "") -> None:
    """Raise WrongValues unless every feature is among the names, and no name comes twice; `place` begins faults."""
    known = set(names)
    faults = [Fault(f"{place}column {name}", "is missing") for name in features if name not in known]
    if faults:
        raise WrongValues(f"the table lacks {faults[0].pointer.removeprefix(place)}", faults=faults)
    if len(known) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        fault = Fault(f"{place}column {twice[:200]}", "is there more than once")
        raise WrongValues("two columns have one name", faults=[fault])


def summary(faults: Sequence[Fault], count: int) -> str:
    """The detail of a problem with so many faults, of which these are known."""
    first = f"{faults[0].pointer or 'the body'} {faults[0].detail}"
    return first if count == 1 else f"{first} (the first of {count} errors)"
