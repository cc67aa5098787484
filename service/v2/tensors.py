"""An input tensor's values: from JSON or bytes, of any datatype of numbers, to float32, checked. Knows no model."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import simdjson
from numpy.typing import NDArray

from service.entry import Rows
from service.problems import WrongValues, pointer
from service.tables.table import FLOAT32_MAX
from service.v2.data_arrays import DataArray

# Little-endian, as the binary tensor extension has them.
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
}
_BUFFER_TYPES: Mapping[str, Literal["i", "u"]] = {"INT64": "i", "UINT64": "u"}
_BEYOND = "is not finite, or beyond its datatype or float32"
_OF_NUMBERS = b"0123456789+-.eE"


def from_bytes(content: memoryview, datatype: str, shape: Sequence[int], where: str) -> Rows:
    """A tensor of this datatype and shape, in row-major order; raises WrongValues."""
    dtype = _DTYPES[datatype]
    needed = math.prod(shape) * dtype.itemsize
    if len(content) != needed:
        raise WrongValues(f"{where} has {len(content)} bytes; {datatype} {shape} has {needed}")
    values = np.frombuffer(content, dtype)
    if (wrong := _first_beyond(values, dtype)) is not None:
        raise WrongValues(f"{where}: value {wrong} {_BEYOND}")
    if dtype.kind in "iu":
        values = values.astype(np.float64)  # as in `from_json`
    # A copy: the bytes are not aligned, and torch warns of what it may not write to.
    return np.array(values, dtype=np.float32).reshape(shape)


def array_of(data: simdjson.Array, datatype: str, depth: int, where: str) -> DataArray:
    """Return the numbers of a parsed array, nested no deeper than `depth`; raises WrongValues."""
    try:
        values = _values(data, datatype)
    except TypeError:
        raise WrongValues(f"{where}/data{_first_not_number(data, depth)} is not a number") from None
    # The parser flattens whatever is nested: what is left of the text without its numbers says how it was.
    return DataArray(values, cast("bytes", data.mini).translate(None, _OF_NUMBERS), rounded=False)


def _values(data: simdjson.Array, datatype: str) -> NDArray[Any]:
    """Return the numbers as float64, or as integers of 64 bits where the datatype has these and all numbers fit."""
    if of_type := _BUFFER_TYPES.get(datatype):
        with contextlib.suppress(TypeError, ValueError):
            return np.frombuffer(data.as_buffer(of_type=of_type), _DTYPES[datatype])
    return np.frombuffer(data.as_buffer(of_type="d"))


def from_json(data: DataArray, datatype: str, shape: Sequence[int], where: str) -> Rows:
    """Return a tensor from JSON numbers, flat or nested as the shape says; raises WrongValues."""
    values = data.values
    needed = math.prod(shape)
    if len(values) != needed:
        raise WrongValues(f"{where}/data has {len(values)} values; its shape {shape} has {needed}")
    flat = data.marks == _structure([needed])
    if not flat and data.marks != _structure(shape):
        raise WrongValues(f"{where}/data is neither flat nor nested as its shape {shape} says")
    dtype = _DTYPES[datatype]
    place = [needed] if flat else shape
    if (wrong := _first_beyond(values, dtype, rounded=data.rounded)) is not None:
        raise WrongValues(f"{where}/data{_pointer(wrong, place)} {_BEYOND}")
    if dtype.kind == "f":
        return values.astype(dtype).astype(np.float32).reshape(shape)
    if (wrong := _first_broken(values)) is not None:
        raise WrongValues(f"{where}/data{_pointer(wrong, place)} is not a whole number, as {datatype} has them")
    # Through float64, as in every other form: one step would round a few large integers differently.
    return values.astype(np.float64).astype(np.float32).reshape(shape)


def _first_beyond(values: NDArray[Any], dtype: np.dtype[Any], *, rounded: bool = False) -> int | None:
    """Return which value is the first that is not finite, or beyond its datatype or float32; None for no value."""
    if values.dtype == dtype and dtype.kind in "iu":
        return None
    lowest, highest = _bounds(dtype, rounded=rounded)
    # NaN makes both extremes NaN, and they compare with nothing.
    if not len(values) or (values.min() >= lowest and values.max() <= highest):
        return None
    wide = values.astype(np.float64)
    return int(np.argmin((wide >= lowest) & (wide <= highest)))


def _bounds(dtype: np.dtype[Any], *, rounded: bool) -> tuple[float, float]:
    if dtype.kind == "f":
        limit = min(FLOAT32_MAX, float(np.finfo(dtype).max)) if dtype.itemsize == 2 else FLOAT32_MAX
        return -limit, limit
    bounds = np.iinfo(dtype)
    highest = float(bounds.max)
    return float(bounds.min), highest if rounded or highest <= bounds.max else math.nextafter(highest, 0.0)


def _first_broken(values: NDArray[np.float64]) -> int | None:
    """Return which value is the first that is not a whole number; None for no value."""
    whole = values == np.trunc(values)
    return None if whole.all() else int(np.argmin(whole))


def _pointer(value: int, shape: Sequence[int]) -> str:
    """Return the pointer to a value, counted in row-major order, of an array of this shape."""
    return pointer(int(at) for at in np.unravel_index(value, shape))


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
