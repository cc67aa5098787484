"""Triton's own client, unmodified and with its defaults, against a service of a thermometer with intervals.

``python triton_client.py URL``, in the environment of triton_client.txt. Ends with status 0 when all of it holds.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.http as triton  # type: ignore[import-not-found]  # it has an environment of its own
import tritonclient.http.aio as triton_aio  # type: ignore[import-not-found]

MODEL = "thermometer"
ROWS = np.array([[50.0], [68.0], [212.0]], dtype=np.float32)


def readings(rows: Any = ROWS, datatype: str = "FP32", name: str = "readings", **options: bool) -> Any:
    """An input tensor."""
    tensor = triton.InferInput(name, list(rows.shape), datatype)
    return tensor.set_data_from_numpy(rows, **options)


def check_health(client: Any) -> None:
    """Live, ready, and ready by model and version; a model that is not there is not."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready("nope")
    assert not client.is_model_ready(MODEL, "99")


def check_metadata(client: Any) -> None:
    """The server's and the model's, and the repository's index."""
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "statistics"]
    metadata = client.get_model_metadata(MODEL)
    assert client.get_model_metadata(MODEL, "1") == metadata
    assert metadata["inputs"] == [{"name": "readings", "datatype": "FP32", "shape": [-1, 1]}]
    assert [output["name"] for output in metadata["outputs"]][:2] == ["predictions", "out_of_range"]
    state = {"name": MODEL, "version": "1", "state": "READY", "reason": ""}
    assert client.get_model_repository_index() == [state]


def check_inference(client: Any) -> Any:
    """Binary both ways, as is the default; JSON both ways; one of each: the same numbers."""
    result = client.infer(MODEL, [readings()])
    predictions = result.as_numpy("predictions")
    assert predictions.shape == (3, 1)
    assert predictions.dtype == np.float32
    assert np.isfinite(predictions).all()
    assert result.as_numpy("out_of_range").tolist() == [False, False, True]
    assert "parameters" in result.get_output("predictions")
    for sent in (True, False):
        for received in (True, False):
            wanted = [triton.InferRequestedOutput(name, binary_data=received) for name in ("celsius", "predictions")]
            result = client.infer(MODEL, [readings(binary_data=sent)], "1", wanted, request_id="a-1", timeout=5_000_000)
            assert result.get_response()["id"] == "a-1"
            assert ("data" in result.get_output("predictions")) is not received
            assert np.array_equal(result.as_numpy("predictions"), predictions)
            assert np.array_equal(result.as_numpy("celsius"), predictions[:, 0])
    return predictions


def check_ways(client: Any, predictions: Any) -> None:
    """By feature, of other datatypes, asynchronously, compressed where the server may decide, a million at once."""
    by_feature = readings(ROWS[:, 0], name="fahrenheit")
    for tensor in (by_feature, readings(ROWS.astype(np.int16), "INT16"), readings(ROWS.astype(np.float64), "FP64")):
        assert np.array_equal(client.infer(MODEL, [tensor]).as_numpy("predictions"), predictions)
    pending = [client.async_infer(MODEL, [readings()]) for _ in range(20)]
    for request in pending:
        assert np.array_equal(request.get_result().as_numpy("predictions"), predictions)
    result = client.infer(MODEL, [readings()], response_compression_algorithm="gzip")
    assert np.array_equal(result.as_numpy("predictions"), predictions)
    many = np.tile(ROWS, (333_333, 1))
    found = client.infer(MODEL, [readings(many)]).as_numpy("predictions")
    assert np.allclose(found, np.tile(predictions, (333_333, 1)), rtol=1e-6, atol=1e-6)


def check_interval(client: Any, predictions: Any) -> None:
    """Bounds come where the request's parameters ask for an interval, and only then."""
    names = [output["name"] for output in client.get_model_metadata(MODEL)["outputs"]]
    assert names == ["predictions", "out_of_range", "lower", "upper"]
    result = client.infer(MODEL, [readings()], parameters={"interval": 0.9})
    assert result.get_response()["parameters"]["coverage"] == 0.9
    assert (result.as_numpy("lower") <= predictions).all()
    assert (predictions <= result.as_numpy("upper")).all()
    wanted = [triton.InferRequestedOutput("upper", binary_data=False)]
    one = client.infer(MODEL, [readings()], outputs=wanted, parameters={"interval": 0.9})
    assert np.array_equal(one.as_numpy("upper"), result.as_numpy("upper"))
    assert client.infer(MODEL, [readings()]).as_numpy("lower") is None


def check_statistics(client: Any) -> None:
    """They rise by what was asked."""

    def rows() -> int:
        (statistics,) = client.get_inference_statistics(MODEL)["model_stats"]
        assert client.get_inference_statistics(MODEL, "1")["model_stats"][0]["name"] == MODEL
        assert len(client.get_inference_statistics()["model_stats"]) == 1
        return int(statistics["inference_count"])

    before = rows()
    client.infer(MODEL, [readings()])
    assert rows() == before + 3


def error(wrong: Callable[[], object]) -> Any:
    """The client's own error, which it could read."""
    try:
        wrong()
    except triton.InferenceServerException as found:
        return found
    raise AssertionError("no error")


def check_errors(client: Any) -> None:
    """Its own error class, with the message and the status."""
    wrong: dict[str, Callable[[], object]] = {
        "404": lambda: client.infer("nope", [readings()]),
        "400": lambda: client.infer(MODEL, [readings(name="kelvin")]),
        "415": lambda: client.infer(MODEL, [readings()], request_compression_algorithm="gzip"),
        "501": lambda: client.load_model(MODEL),
        "504": lambda: client.infer(MODEL, [readings()], timeout=1),
    }
    for status, call in wrong.items():
        found = error(call)
        assert found.status() == status
        assert found.debug_details() is None  # which it has where it could not read the error
    assert "no model of that name" in error(wrong["404"]).message()
    assert "no model of that name" in error(client.async_infer("nope", [readings()]).get_result).message()


async def check_asyncio(address: str, predictions: Any) -> None:
    """The client's asyncio form."""
    async with triton_aio.InferenceServerClient(address) as client:
        assert await client.is_server_ready()
        results = await asyncio.gather(*(client.infer(MODEL, [readings()]) for _ in range(20)))
        assert all(np.array_equal(result.as_numpy("predictions"), predictions) for result in results)


def main() -> None:
    """Check all of it."""
    address = sys.argv[1].removeprefix("http://")
    with triton.InferenceServerClient(address, concurrency=8) as client:
        check_health(client)
        check_metadata(client)
        predictions = check_inference(client)
        check_interval(client, predictions)
        check_ways(client, predictions)
        check_statistics(client)
        check_errors(client)
    asyncio.run(check_asyncio(address, predictions))


if __name__ == "__main__":
    main()
