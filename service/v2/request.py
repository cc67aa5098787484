"""A request for an inference, from its bytes to rows and what is wanted of their outputs. Every error says where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import simdjson
from pydantic import ValidationError

from service import whole_number
from service.entry import Rows
from service.problems import NotParseable, TooLarge, WrongValues, pointer
from service.tables.json import SMALL_BODY_BYTES
from service.v2 import parser, tensors
from service.v2.data_arrays import DataArray, cut
from service.v2.documents import InferenceRequest, InputTensor
from service.v2.signature import BOUNDS, DEFAULT_OUTPUTS, READINGS, Signature

HEADER_LENGTH = b"inference-header-content-length"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output by its name, and whether as bytes."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class Inference:
    """Rows ``[N, features]``, the outputs that are wanted of them, and what else the request says.

    `id` is echoed; `timeout_seconds` is 0 where the request names none; `interval` is the coverage of one, as text.
    """

    rows: Rows
    wanted: tuple[Wanted, ...]
    id: str | None = None
    timeout_seconds: float = 0.0
    interval: str | None = None


def read(content: bytes, header_length: bytes | None, signature: Signature) -> Inference:
    """The inference that a body asks for.

    `header_length` is the header that says how many of its bytes are JSON: all without it, and with 0 the body is the
    one tensor's values in FP32. Raises NotParseable, WrongValues, TooLarge or NotSupported.
    """
    if header_length is None:
        return _read(content, memoryview(b""), signature)
    length = whole_number.read(header_length)
    if length is None or length > len(content):
        raise WrongValues(f"{HEADER_LENGTH.decode()} is not a number of bytes that the body has")
    if length == 0:
        return _read_raw(memoryview(content), signature)
    return _read(content[:length], memoryview(content)[length:], signature)


def _read_raw(content: memoryview, signature: Signature) -> Inference:
    count = len(content) // (4 * len(signature.features))
    _check_count(count, signature)
    rows = tensors.from_bytes(content, "FP32", [count, len(signature.features)], "the body")
    return Inference(rows, tuple(Wanted(name, binary=True) for name in DEFAULT_OUTPUTS))


def _read(header: bytes, rest: memoryview, signature: Signature) -> Inference:
    arrays: list[DataArray] = []
    if len(header) > SMALL_BODY_BYTES:
        header, arrays = cut(header)
    document = _parsed(header)
    parameters = document.parameters
    return Inference(
        _rows(document.inputs, rest, arrays, signature),
        tuple(_wanted(document, signature)),
        document.id,
        (parameters.timeout or 0) / 1_000_000 if parameters else 0.0,
        None if parameters is None or parameters.interval is None else repr(parameters.interval),
    )


def _parsed(header: bytes) -> InferenceRequest:
    try:
        return InferenceRequest.model_validate(parser.parse(header))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise WrongValues(f"{pointer(first['loc']) or 'the body'}: {first['msg']}") from None
    except (ValueError, RuntimeError) as error:  # simdjson's own
        reason = str(error).partition(": ")[2].partition(".")[0]
        raise NotParseable(f"the body is not JSON that can be read: {reason}") from None


def _rows(inputs: Sequence[InputTensor], rest: memoryview, arrays: Sequence[DataArray], signature: Signature) -> Rows:
    """One tensor of all features, or one for each of them."""
    names = [tensor.name for tensor in inputs]
    if len(set(names)) < len(names):
        raise WrongValues("/inputs: two inputs have the same name")
    whole = names == [READINGS]
    if not whole and set(names) != set(signature.features):
        unknown = [at for at, name in enumerate(names) if name not in signature.features]
        where = f"/inputs/{unknown[0]}/name is none of this model's" if unknown else "/inputs: some are missing"
        features = ", ".join(signature.features)
        raise WrongValues(f"{where}: send one tensor {READINGS}, or one for each feature: {features}")
    for at, tensor in enumerate(inputs):
        _check_width(tensor, f"/inputs/{at}", len(signature.features) if whole else 1)
        _check_count(tensor.shape[0], signature)
        if tensor.shape[0] != inputs[0].shape[0]:
            rows = f"has {tensor.shape[0]} rows, the first input has {inputs[0].shape[0]}"
            raise WrongValues(f"/inputs/{at}/shape {rows}")
    columns = dict(zip(names, _values(inputs, rest, arrays), strict=True))
    if whole:
        return columns[READINGS].reshape(-1, len(signature.features))
    return np.concatenate([columns[name].reshape(-1, 1) for name in signature.features], axis=1)


def _check_width(tensor: InputTensor, where: str, width: int) -> None:
    if tensor.shape[1:] not in ([[width], []] if width == 1 else [[width]]):
        wanted = f"[N, {width}]" + (" or [N]" if width == 1 else "")
        raise WrongValues(f"{where}/shape is not {wanted}")


def _check_count(count: int, signature: Signature) -> None:
    if count > signature.max_rows:
        raise TooLarge(f"there are more rows than the {signature.max_rows} that one request may have")


def _values(inputs: Sequence[InputTensor], rest: memoryview, arrays: Sequence[DataArray]) -> Iterator[Rows]:
    """Each input's values, those behind the JSON in the order of the inputs; `arrays` were cut out of the JSON."""
    start = 0
    for at, tensor in enumerate(inputs):
        where = f"/inputs/{at}"
        size = tensor.parameters.binary_data_size if tensor.parameters else None
        if (size is None) == (tensor.data is None):
            raise WrongValues(f"{where} needs either data, or binary_data_size in its parameters")
        if size is None:
            data = _array(tensor, arrays, where)
            yield tensors.from_json(data, tensor.datatype, tensor.shape, where)
        else:
            if size > (left := len(rest) - start):
                raise WrongValues(f"{where}/parameters/binary_data_size is more than the {left} bytes that are left")
            content = rest[start : start + size]
            yield tensors.from_bytes(content, tensor.datatype, tensor.shape, where)
            start += size
    if start != len(rest):
        raise WrongValues(
            f"there are {len(rest)} bytes behind the JSON, and the inputs' binary_data_size add to {start}"
        )


def _array(tensor: InputTensor, arrays: Sequence[DataArray], where: str) -> DataArray:
    data = cast("simdjson.Array", tensor.data)
    first = data[0] if len(data) == 1 else None
    if arrays and isinstance(first, str) and first in map(str, range(len(arrays))):
        return arrays[int(first)]
    return tensors.array_of(data, tensor.datatype, len(tensor.shape), where)


def _wanted(document: InferenceRequest, signature: Signature) -> Iterator[Wanted]:
    binary = bool(document.parameters and document.parameters.binary_data_output)
    with_bounds = bool(document.parameters and document.parameters.interval is not None)
    seen: set[str] = set()
    for at, output in enumerate(document.outputs or ()):
        if output.name not in signature.outputs:
            raise WrongValues(f"/outputs/{at}/name is none of {', '.join(signature.outputs)}")
        if output.name in seen:
            raise WrongValues(f"/outputs/{at}/name: {output.name} is asked for twice")
        if output.name in BOUNDS and not with_bounds and signature.has_intervals:
            raise WrongValues(f"/outputs/{at}/name: {output.name} needs the request's parameter interval")
        seen.add(output.name)
        own = output.parameters.binary_data if output.parameters else None
        yield Wanted(output.name, binary if own is None else own)
    if not document.outputs:
        names = (*DEFAULT_OUTPUTS, *BOUNDS) if with_bounds else DEFAULT_OUTPUTS
        yield from (Wanted(name, binary) for name in names)
