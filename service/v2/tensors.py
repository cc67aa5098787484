"""An input tensor's values: from JSON or bytes, of any datatype of numbers, to float32, checked. Knows no model."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, cast

import numpy as np
import simdjson
from numpy.typing import NDArray

from service.entry import Rows
from service.problems import WrongValues, pointer
from service.v2.data_arrays import DataArray

# Little-endian, as the binary tensor extension has them.
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
}
_OF_NUMBERS = b"0123456789+-.eE"


def from_bytes(content: memoryview, datatype: str, shape: Sequence[int], where: str) -> Rows:
    """A tensor of this datatype and shape, in row-major order; raises WrongValues."""
    dtype = _DTYPES[datatype]
    needed = prod(shape) * dtype.itemsize
    if len(content) != needed:
        raise WrongValues(f"{where} has {len(content)} bytes; {datatype} {shape} has {needed}")
    values = np.frombuffer(content, dtype)
    _check_range(values, dtype, where)
    # A copy: the bytes are not aligned, and torch warns of what it may not write to.
    return np.array(values, dtype=np.float32).reshape(shape)


def array_of(data: simdjson.Array, depth: int, where: str) -> DataArray:
    """Return the numbers of a parsed array, nested no deeper than `depth`; raises WrongValues."""
    try:
        values = np.frombuffer(data.as_buffer(of_type="d"))
    except TypeError:
        raise WrongValues(f"{where}/data{_first_not_number(data, depth)} is not a number") from None
    # The parser flattens whatever is nested: what is left of the text without its numbers says how it was.
    return DataArray(values, cast("bytes", data.mini).translate(None, _OF_NUMBERS))


def from_json(data: DataArray, datatype: str, shape: Sequence[int], where: str) -> Rows:
    """Return a tensor from JSON numbers, flat or nested as the shape says; raises WrongValues."""
    values = data.values
    needed = prod(shape)
    if len(values) != needed:
        raise WrongValues(f"{where}/data has {len(values)} values; its shape {shape} has {needed}")
    if data.marks not in {_structure([needed]), _structure(shape)}:
        raise WrongValues(f"{where}/data is neither flat nor nested as its shape {shape} says")
    dtype = _DTYPES[datatype]
    _check_range(values, dtype, f"{where}/data")
    if dtype.kind == "f":
        return values.astype(dtype).astype(np.float32).reshape(shape)
    _check_whole(values, datatype, f"{where}/data")
    return values.astype(np.float32).reshape(shape)


def _check_range(values: NDArray[Any], dtype: np.dtype[Any], where: str) -> None:
    lowest, highest = _bounds(dtype)
    # As Python's numbers, which do not overflow; NaN makes both extremes NaN, and they compare with nothing.
    if not len(values) or (values.min().item() >= lowest and values.max().item() <= highest):
        return
    wide = values.astype(np.float64)
    first = int(np.argmin((wide >= lowest) & (wide <= highest)))
    raise WrongValues(f"{where}: value {first} is not finite, or beyond its datatype or float32")


def _bounds(dtype: np.dtype[Any]) -> tuple[float, float]:
    if dtype.kind == "f":
        limit = min(float(np.finfo(np.float32).max), float(np.finfo(dtype).max))
        return -limit, limit
    bounds = np.iinfo(dtype)
    return bounds.min, bounds.max


def _check_whole(values: NDArray[np.float64], datatype: str, where: str) -> None:
    whole = values == np.trunc(values)
    if not whole.all():
        raise WrongValues(f"{where}: value {int(np.argmin(whole))} is not a whole number, as {datatype} has them")


def _structure(shape: Sequence[int]) -> bytes:
    """The brackets and commas of a nested array of this shape, which is not larger than what a client has sent."""
    inner = _structure(shape[1:]) if len(shape) > 1 else b""
    return b"[%b]" % ((inner + b",") * shape[0])[:-1]


def _first_not_number(data: simdjson.Array, depth: int) -> str:
    """The pointer to the first element that is no number, looked for no deeper than the shape goes."""
    return pointer(next(_not_numbers(data, depth), ()))


def _not_numbers(data: simdjson.Array, depth: int) -> Iterator[tuple[int, ...]]:
    for at, element in enumerate(data):
        if depth > 1 and isinstance(element, simdjson.Array):
            yield from ((at, *inner) for inner in _not_numbers(element, depth - 1))
        elif isinstance(element, bool) or not isinstance(element, int | float):
            yield (at,)
