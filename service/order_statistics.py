"""The r-th smallest of n values, for many columns side by side."""

import numpy as np
from numpy.typing import NDArray

# From so many columns on, three passes over all of them for each value are faster than sorting each column.
_MANY_COLUMNS = 512


def smallest(values: NDArray[np.float32], rank: int) -> NDArray[np.float32]:
    """Values ``[n, columns]`` to the `rank`-th smallest ``[columns]`` of each; NaN where one of the n is NaN.

    `rank` is from 1 to n.
    """
    if rank == 1:
        least: NDArray[np.float32] = values.min(axis=0)
        return least
    if rank == 2 and values.shape[1] >= _MANY_COLUMNS:
        return _second_smallest(values)
    columns = np.ascontiguousarray(values.T)
    columns.sort()
    return np.where(np.isnan(columns[:, -1]), np.float32(np.nan), columns[:, rank - 1])


def _second_smallest(values: NDArray[np.float32]) -> NDArray[np.float32]:
    first, second = np.full((2, values.shape[1]), np.inf, dtype=np.float32)
    larger = np.empty_like(first)
    for value in values:
        np.maximum(first, value, out=larger)
        np.minimum(first, value, out=first)
        np.minimum(second, larger, out=second)
    return second
