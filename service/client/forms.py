"""The forms in which rows go out and answers come back: strict JSON, and streams of Arrow. Knows no HTTP."""

import importlib.util
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from service.client.answers import Answers
from service.client.errors import BadTable
from service.client.tables import Columns
from service.client.versions import Version

_BOUNDS = ("lower", "upper")


class Form(Protocol):
    """How a block of rows is written, and how the answer to it is read.

    `read` raises whatever a document that is built otherwise makes it raise.
    """

    media_type: str

    def write(self, columns: Columns) -> bytes:
        """The body for these columns; raises BadTable for what cannot be written."""

    def read(self, body: bytes, version: Version, *, interval: bool) -> Answers:
        """What the service says of each row."""


class Json:
    """A table by columns, as docs/api.md has it; every service reads it."""

    media_type = "application/json"

    def write(self, columns: Columns) -> bytes:
        """Lists as they are. NaN becomes null, which the service refuses with the number of its row."""
        plain = {
            name: column if isinstance(column, list) else np.ascontiguousarray(column)
            for name, column in columns.items()
        }
        try:
            return orjson.dumps(plain, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError as error:
            raise BadTable(f"the table has a value that is not a number: {error}") from error

    def read(self, body: bytes, version: Version, *, interval: bool) -> Answers:
        """An array for each target, and the numbers of the rows that are out of range."""
        document = orjson.loads(body)
        predictions = _array([document["predictions"][target] for target in version.targets])
        bounds = None
        if interval:
            by_target = [document["interval"][target] for target in version.targets]
            bounds = _array([[bound[side] for side in _BOUNDS] for bound in by_target]).transpose(2, 0, 1)
        out_of_range = np.zeros(predictions.shape[1], dtype=np.bool_)
        out_of_range[document["out_of_range"]] = True
        return Answers(predictions.T, bounds, out_of_range)


class Arrow:
    """A stream of Arrow's IPC format; for who has pyarrow, and a service that has it too."""

    media_type = "application/vnd.apache.arrow.stream"

    def write(self, columns: Columns) -> bytes:
        """The columns as they lie in memory."""
        import pyarrow as pa  # noqa: PLC0415 - an extra

        table = pa.table(columns)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        return bytes(sink.getvalue())

    def read(self, body: bytes, version: Version, *, interval: bool) -> Answers:
        """The rows that were sent, with the columns of the answers behind them."""
        import pyarrow as pa  # noqa: PLC0415 - as above

        table = pa.ipc.open_stream(body).read_all()

        def named(*names: str) -> NDArray[np.float32]:
            return _array([table.column(name).to_numpy() for name in names])

        targets = version.targets
        bounds = None
        if interval:
            bounds = np.stack([named(*(f"{target}_{side}" for target in targets)).T for side in _BOUNDS], axis=2)
        return Answers(named(*targets).T, bounds, table.column("out_of_range").to_numpy().astype(np.bool_))


class Forms:
    """The forms that a service takes: all that can be written here, until it refuses one."""

    def __init__(self) -> None:
        self._json = Json()
        self._arrow = Arrow() if importlib.util.find_spec("pyarrow") else None

    def best(self, *, in_arrow: bool) -> Form:
        """Arrow for a table that lies in memory so, where it may be; else JSON."""
        return self._arrow if in_arrow and self._arrow else self._json

    def give_up(self, form: Form) -> bool:
        """Leave this one out from now on; false where there is no other."""
        self._arrow = None
        return form is not self._json


def _array(columns: Sequence[Any]) -> NDArray[np.float32]:
    return np.array(columns, dtype=np.float32)
