"""JSON in: a table by columns, checked once and completely, as rows of float32."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import simdjson
from numpy.typing import NDArray
from pydantic import ConfigDict, FailFast, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from service.entry import Rows
from service.problems import MAX_FAULTS, Fault, NotParseable, WrongValues, pointer
from service.tables import json_blocks
from service.tables.table import FLOAT32_MAX, check_count, summary

# A larger body is read in blocks, on a thread, and an error names the first bad value alone.
SMALL_BODY_BYTES = 64 * 2**10
# From here on a parser that gives arrays is faster than one that gives Python floats.
_ARRAYS_BYTES = 256

_Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-FLOAT32_MAX, le=FLOAT32_MAX)]
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_WORDING = {
    "dict_type": json_blocks.NOT_A_TABLE,
    "list_type": json_blocks.NOT_AN_ARRAY,
    "float_type": json_blocks.NOT_A_NUMBER,
    "finite_number": json_blocks.NOT_FINITE,
    "less_than_equal": json_blocks.BEYOND_FLOAT32,
    "greater_than_equal": json_blocks.BEYOND_FLOAT32,
    "missing": json_blocks.MISSING,
}


class Columns:
    """The feature columns of a model, as a body must give them.

    JSON is strict: an object with exactly these keys, each once, each an array of finite numbers within float32, all of
    one length. https://www.rfc-editor.org/rfc/rfc8259
    """

    def __init__(self, names: Sequence[str], max_rows: int) -> None:
        self.names = tuple(names)
        self.max_rows = max_rows
        # An error is made for each wrong key, so that a body of a million keys must not reach the validator.
        self._max_quotes = 1_000 + sum(2 + name.count('"') for name in names)
        # Those between columns, and those in their names.
        self._commas = len(names) - 1 + sum(name.count(",") for name in names)
        self._brackets = len(names) + sum(name.count("[") for name in names)
        self._parser = simdjson.Parser()
        # The validator itself: the adapter around it adds as much time again.
        self._validate = _adapter(self.names, Annotated[list[_Number], FailFast()]).validator.validate_json
        self._all_faults = _adapter(self.names, list[_Number])

    def count(self, body: bytes) -> int:
        """Return how many rows a JSON body has, if the body is right: counted by commas, without reading numbers."""
        return (body.count(b",") - self._commas) // len(self.names) + 1

    def from_json(self, body: bytes) -> Rows:
        """Return rows ``[N, features]`` from a JSON body; raises NotParseable, WrongValues or TooLarge.

        Call this on one thread only, except with bodies beyond SMALL_BODY_BYTES.
        """
        if len(body) > SMALL_BODY_BYTES:
            return self._rows(json_blocks.read(body, self.names))
        arrays = self._arrays(body) if len(body) >= _ARRAYS_BYTES else None
        return self._rows(self._validated(body) if arrays is None else arrays)

    def _arrays(self, body: bytes) -> list[NDArray[np.float64]] | None:
        """The columns, without a Python float each; None wherever the validator has to have a look.

        simdjson keeps duplicate keys and flattens nested arrays: there is neither where there are as many keys and as
        many arrays as columns. The rest it refuses as strictly as the validator, which then says what is wrong.
        """
        if body[:1] != b"{" or b"\\" in body or not _occurs(body, b"[", self._brackets):
            return None
        try:
            document: Any = self._parser.parse(body)
            if len(document) != len(self.names):
                return None
            columns = [np.frombuffer(document[name].as_buffer(of_type="d")) for name in self.names]
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError):
            return None
        within = all(column.min() >= -FLOAT32_MAX and column.max() <= FLOAT32_MAX for column in columns if len(column))
        return columns if within else None

    def _validated(self, body: bytes) -> list[list[float]]:
        quotes = body.count(b'"')
        if quotes > self._max_quotes:
            raise WrongValues("the body has far more strings than this model has columns")
        try:
            table = self._validate(body)
        except ValidationError as error:
            if "number out of range" in str(error):  # more digits than Python reads
                return [column.tolist() for column in json_blocks.read(body, self.names)]
            raise self._problem(body, error) from None
        # Validated, so its only strings are its keys: as many as columns, unless one came twice.
        if quotes != 2 * len(self.names) and len(_STRING.findall(body)) != len(self.names):
            raise WrongValues("a column is given twice", faults=[Fault("", "has a duplicate key")])
        return [table[name] for name in self.names]

    def _rows(self, columns: Sequence[Sequence[float] | NDArray[np.floating[Any]]]) -> Rows:
        count = len(columns[0])
        check_count(count, self.max_rows)
        if len(columns) == 1:
            return np.asarray(columns[0], dtype=np.float32).reshape(-1, 1)
        faults = [
            Fault(pointer((name,)), f"has {len(column)} values, {self.names[0]} has {count}")
            for name, column in zip(self.names, columns, strict=True)
            if len(column) != count
        ]
        if faults:
            raise WrongValues("the columns differ in length", faults=faults)
        return np.ascontiguousarray(np.array(columns, dtype=np.float32).T)

    def _problem(self, body: bytes, error: ValidationError) -> NotParseable | WrongValues:
        try:
            self._all_faults.validate_json(body)
        except ValidationError as complete:
            error = complete
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        if faults[0]["type"] == "json_invalid":
            return NotParseable(f"the body is not JSON: {faults[0]['msg'].removeprefix('Invalid JSON: ')}")
        known = "is not a feature of this model; its features are " + ", ".join(self.names)
        named = [
            Fault(
                pointer(fault["loc"]),
                _WORDING.get(fault["type"], known if fault["type"] == "extra_forbidden" else fault["msg"]),
            )
            for fault in faults[:MAX_FAULTS]
        ]
        return WrongValues(summary(named, len(faults)), faults=named)


def _adapter(names: Sequence[str], column: object) -> TypeAdapter[dict[str, list[float]]]:
    table = TypedDict("table", dict.fromkeys(names, column))  # type: ignore[misc]  # a type for names known at run time
    table.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[attr-defined]
    return TypeAdapter(table)  # type: ignore[arg-type]


def _occurs(body: bytes, what: bytes, times: int) -> bool:
    """Whether `what` is in the body exactly so often; looking for it is many times faster than counting it."""
    at = -1
    for _ in range(times):
        at = body.find(what, at + 1)
        if at < 0:
            return False
    return body.find(what, at + 1) < 0
