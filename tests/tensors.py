"""The Open Inference Protocol, as a client of it: requests, and what comes back."""

import json
from collections.abc import Sequence
from typing import Any, TypeAlias

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

THERMOMETER = "/v2/models/thermometer"
INFER = THERMOMETER + "/infer"
LENGTH = "inference-header-content-length"
Document: TypeAlias = dict[str, Any]
DTYPES = {
    "FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
}  # fmt: skip


def index(client: httpx.Client, *, ready: bool = False) -> list[Document]:
    """The repository's index."""
    found: list[Document] = client.post("/v2/repository/index", json={"ready": ready}).json()
    return found


def tensor(values: Sequence[object], shape: Sequence[object] = (), name: str = "readings", **more: object) -> Document:
    """An input with JSON data; FP32 [N, 1] unless it says otherwise."""
    return {"name": name, "shape": list(shape or [len(values), 1]), "datatype": "FP32", "data": values, **more}


def request(*inputs: Document, **more: object) -> Document:
    """A request for an inference."""
    return {"inputs": list(inputs), **more}


def binary(document: Document, *values: NDArray[Any]) -> tuple[bytes, dict[str, str]]:
    """A body and its header: the document, its inputs' data as bytes behind it."""
    inputs = [
        {**{key: item for key, item in one.items() if key != "data"}, "parameters": {"binary_data_size": value.nbytes}}
        for one, value in zip(document["inputs"], values, strict=True)
    ]
    header = json.dumps({**document, "inputs": inputs}).encode()
    return header + b"".join(value.tobytes() for value in values), {LENGTH: str(len(header))}


def outputs(response: httpx.Response) -> dict[str, NDArray[Any]]:
    """Every output by its name, from JSON or from bytes."""
    assert response.status_code == 200, response.text
    dtypes = {"FP32": np.dtype("<f4"), "BOOL": np.dtype("?")}
    length = response.headers.get(LENGTH)
    document = json.loads(response.content[: int(length)] if length else response.content)
    rest = response.content[int(length) :] if length else b""
    assert response.headers["content-type"] == ("application/octet-stream" if length else "application/json")
    found = {}
    for output in document["outputs"]:
        dtype = dtypes[output["datatype"]]
        if "data" in output:
            values = np.array(output["data"], dtype)
        else:
            size = output["parameters"]["binary_data_size"]
            values, rest = np.frombuffer(rest[:size], dtype), rest[size:]
        found[output["name"]] = values.reshape(output["shape"])
    assert not rest
    return found


def error(response: httpx.Response, status: int) -> str:
    """The message of an error in the protocol's form, and in no other."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    document = json.loads(response.content, parse_constant=pytest.fail)
    assert list(document) == ["error"]
    assert isinstance(document["error"], str)
    assert document["error"]
    return document["error"]
