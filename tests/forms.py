"""Tables in every form that the service reads and writes, as a client makes them."""

import io
from typing import Any

import httpx
import numpy as np
import pyarrow as pa

from running import Running

JSON = "application/json"
CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"


def post(
    service: Running, body: bytes | str, sent: str, wanted: str | None = None, path: str = "/predict"
) -> httpx.Response:
    """One request; without `wanted`, whatever the service gives."""
    content = body.encode() if isinstance(body, str) else body
    headers = {"content-type": sent, **({"accept": wanted} if wanted else {})}
    return service.client.post(path, content=content, headers=headers)


def lines(response: httpx.Response) -> list[str]:
    """A good CSV answer, line by line."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    return response.content.decode().splitlines()


def to_arrow(table: Any, **options: Any) -> bytes:
    """A table, or a list of record batches, as an Arrow stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        stream.write_table(table)
    return sink.getvalue()


def from_arrow(response: httpx.Response) -> Any:
    """A good Arrow answer as a table, checked."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == ARROW
    table = pa.ipc.open_stream(response.content).read_all()
    table.validate(full=True)
    return table


def pointers(response: httpx.Response) -> list[str]:
    """Where the errors of a problem are."""
    assert response.headers["content-type"] == "application/problem+json"
    return [error["pointer"] for error in response.json()["errors"]]


def as_float32(values: list[float]) -> list[float]:
    """The float32 nearest to each of them: JSON's digits read as float64 are another number."""
    rounded: list[float] = np.array(values, dtype=np.float32).tolist()
    return rounded
