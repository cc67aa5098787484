"""What a request's JSON must be: strict in what it reads, and blind to what other servers read in it.

The document stays as the parser has it: only the known keys of its objects are looked up, and tensor data stays an
array of the parser's, so that nothing a client sends becomes a Python object for each number.
"""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import simdjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from service.problems import NotSupported

# Above all that a client has a use for, and few enough to look through one by one.
_MOST_KEYS = 64
_MOST_TENSORS = 4096
_MOST_DIMENSIONS = 16
_BEYOND_64_BITS = 2.0**64

Datatype: TypeAlias = Literal[
    "FP32", "FP64", "FP16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"
]


def _to_list(found: object) -> object:
    """A short array of the parser's as a list."""
    if not isinstance(found, simdjson.Array):
        return found
    if len(found) > _MOST_TENSORS:
        raise PydanticCustomError("too_long", "has more than {most} elements", {"most": _MOST_TENSORS})
    return list(found)


def _to_whole(found: object) -> object:
    """Return the whole number that the parser has as a float, since 64 bits do not hold it."""
    return int(found) if isinstance(found, float) and found >= _BEYOND_64_BITS else found


def _is_array(found: object) -> object:
    if not isinstance(found, simdjson.Array):
        raise PydanticCustomError("array", "is not an array")
    return found


_Listed = BeforeValidator(_to_list)
_Count = Annotated[int, BeforeValidator(_to_whole), Field(ge=0)]
_Data = Annotated[
    Any,
    BeforeValidator(_is_array),
    WithJsonSchema({"type": "array", "items": {}, "description": "numbers, flat or nested as shape says"}),
]


class _Document(BaseModel):
    """An object of which these keys are read; null is the same as absent."""

    model_config = ConfigDict(strict=True, frozen=True)
    unsupported: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, found: object) -> object:
        if not isinstance(found, simdjson.Object):
            raise PydanticCustomError("object", "is not an object")
        keys = list(found) if len(found) <= _MOST_KEYS else []
        if not len(set(keys)) == len(keys) == len(found):
            raise PydanticCustomError("keys", "has a key twice, or more than {most} keys", {"most": _MOST_KEYS})
        if refused := cls.unsupported.intersection(keys):
            raise NotSupported(f"the parameter {min(refused)} is of an extension that this server does not have")
        return {key: found[key] for key in keys if key in cls.model_fields and found[key] is not None}


class InputParameters(_Document):
    """How an input's values are sent: with `binary_data_size`, as that many bytes behind the JSON."""

    unsupported = frozenset({"shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"})

    binary_data_size: _Count | None = None


class InputTensor(_Document):
    """One input, its values in `data` or behind the JSON."""

    name: str
    shape: Annotated[list[_Count], _Listed, Field(min_length=1, max_length=_MOST_DIMENSIONS)]
    datatype: Datatype
    parameters: InputParameters | None = None
    data: _Data | None = None


class OutputParameters(_Document):
    """How an output is wanted: with `binary_data`, as bytes behind the JSON."""

    unsupported = frozenset({"classification", *InputParameters.unsupported})

    binary_data: bool | None = None


class WantedTensor(_Document):
    """One output that is asked for."""

    name: str
    parameters: OutputParameters | None = None


class RequestParameters(_Document):
    """Whether outputs are wanted as bytes, how many microseconds the answer may take, and the coverage of its interval.

    A timeout of 0 is no limit of its own; `interval` is between 0 and 1.
    """

    unsupported = frozenset({"sequence_id", "sequence_start", "sequence_end"})

    binary_data_output: bool | None = None
    timeout: _Count | None = None
    interval: float | None = None


class InferenceRequest(_Document):
    """A request for an inference; without `outputs`, for what the model's metadata lists."""

    id: str | None = None
    parameters: RequestParameters | None = None
    inputs: Annotated[list[InputTensor], _Listed]
    outputs: Annotated[list[WantedTensor], _Listed] | None = None
