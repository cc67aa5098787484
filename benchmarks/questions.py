"""The requests that every server is sent, and the check that it answers them right before any time is taken."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.network import Run
from benchmarks.processes import BenchError

TENSOR_PATH = "/v2/models/thermometer/infer"
TENSOR_HEADERS = {"inference-header-content-length": "0"}
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Question:
    """A body of so many readings, kept in a file for wrk, and the right answer to it."""

    rows: int
    body: bytes
    file: Path
    celsius: np.ndarray[Any, np.dtype[np.float32]]

    @property
    def tensor(self) -> Path:
        """The same readings as the raw bytes of a float32 tensor, for the Open Inference Protocol."""
        return self.file.with_suffix(".f32")

    @property
    def answer_bytes(self) -> int:
        """How long our answer is: what the bare server answers in its place."""
        answer = {
            "model": "thermometer",
            "version": "1",
            "predictions": {"celsius": self.celsius},
            "out_of_range": [],
        }
        return len(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY))


def ask(rows: int, run: Run, directory: Path) -> Question:
    """Make a question of readings that the instrument could show, so that no answer lists rows as out of range."""
    fahrenheit = np.random.default_rng(rows).uniform(22, 81, rows).round(2)
    body = json.dumps({"fahrenheit": fahrenheit.tolist()}).encode()
    file = directory / f"{rows}.json"
    file.write_bytes(body)
    readings = fahrenheit.astype("<f4")
    file.with_suffix(".f32").write_bytes(readings.tobytes())
    celsius = run(readings.reshape(-1, 1))[:, 0]
    return Question(rows, body, file, np.ascontiguousarray(celsius))


def post(connection: http.client.HTTPConnection, path: str, body: bytes) -> tuple[int, bytes]:
    """Send one body; return the status and the answer."""
    connection.request("POST", path, body, {"content-type": "application/json"})
    response = connection.getresponse()
    return response.status, response.read()


def check(name: str, port: int, path: str, question: Question) -> None:
    """Raise unless the server at this port answers the question rightly."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        status, answer = post(connection, path, question.body)
    except OSError as error:
        raise BenchError(f"{name}: no answer to {question.rows} values: {error}") from error
    finally:
        connection.close()
    if status != 200:
        raise BenchError(f"{name}: status {status} to {question.rows} values: {answer[:300].decode(errors='replace')}")
    if path.startswith("/constant/"):
        right = len(answer) == int(path.rpartition("/")[2])
    else:
        right = answer == question.body if path == "/echo" else _is_right(answer, question)
    if not right:
        raise BenchError(f"{name}: a wrong answer to {question.rows} values: {answer[:300].decode(errors='replace')}")


def check_tensor(port: int, question: Question) -> None:
    """The same for our own server, readings and predictions as raw bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", TENSOR_PATH, question.tensor.read_bytes(), TENSOR_HEADERS)
    response = connection.getresponse()
    start = int(response.headers.get("inference-header-content-length", 0))
    celsius = np.frombuffer(response.read()[start : start + 4 * question.rows], dtype="<f4")
    connection.close()
    if response.status != 200 or not np.allclose(celsius, question.celsius, rtol=_TOLERANCE, atol=_TOLERANCE):
        raise BenchError(f"a wrong answer to a tensor of {question.rows} values: status {response.status}")


def _is_right(answer: bytes, question: Question) -> bool:
    match json.loads(answer):
        case {"predictions": {"celsius": list(celsius)}, **rest} if len(celsius) == question.rows:
            close = np.allclose(celsius, question.celsius, rtol=_TOLERANCE, atol=_TOLERANCE)
            return bool(close) and not rest.get("out_of_range")
    return False


Questions = Mapping[int, Question]
