"""The Open Inference Protocol below /v2: its server, models, repository, and inference."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from running import Running, publish, serving
from service import artifact
from tensors import DTYPES, INFER, LENGTH, THERMOMETER, Document, binary, error, index, outputs, request, tensor


def expected(running: Running, model: str, rows: Sequence[object], version: int = 1) -> NDArray[np.float32]:
    """What the network itself gives."""
    with torch.inference_mode():
        network = artifact.read(running.artifacts / model / str(version)).network
        predictions: NDArray[np.float32] = network(torch.tensor(rows, dtype=torch.float32)).numpy()
    return predictions


# The server, its models, its repository


def test_the_server_says_what_it_is(both: Running) -> None:
    """Its name, and the extensions that it has whole."""
    document = both.client.get("/v2").json()
    assert document["name"] == "calibrant"
    assert document["extensions"] == ["binary_tensor_data", "statistics"]
    assert both.client.get("/v2/health/live").json() == {"live": True}


def test_a_model_says_what_its_tensors_are(both: Running) -> None:
    """One input of all features; the predictions, the flags and the bounds; by number and by label too."""
    document = both.client.get("/v2/models/wine").json()
    assert document == {
        "name": "wine",
        "versions": ["1", "2"],
        "platform": "pytorch_torchscript",
        "inputs": [{"name": "readings", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [
            {"name": "predictions", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "out_of_range", "datatype": "BOOL", "shape": [-1]},
            {"name": "lower", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "upper", "datatype": "FP32", "shape": [-1, 2]},
        ],
    }
    for version in ("1", "2", "candidate"):
        assert both.client.get(f"/v2/models/wine/versions/{version}").json() == document
        ready = both.client.get(f"/v2/models/wine/versions/{version}/ready")
        assert ready.json() == {"name": "wine", "ready": True}
    assert both.client.get("/v2/models/wine/ready").json() == {"name": "wine", "ready": True}


def test_ready_says_the_truth(tmp_path: Path) -> None:
    """503 with the reason while there is no model, or a broken one; live all the time; the index says why."""
    with serving(tmp_path) as running:
        client = running.client
        running.until(lambda client: "no model" in client.get("/v2/health/ready").json()["error"])
        assert client.get("/v2/health/live").status_code == 200
        assert index(client) == []
        publish(tmp_path)
        publish(tmp_path)
        (tmp_path / "thermometer" / "2" / "network.pt").write_bytes(b"")
        running.until_ready()
        assert client.get("/v2/health/ready").json() == {"ready": True}
        running.until(lambda client: len(index(client)) == 2 and index(client)[1]["state"] == "UNAVAILABLE")
        good, broken = index(client)
        assert good == {"name": "thermometer", "version": "1", "state": "READY", "reason": ""}
        assert broken["reason"]
        assert index(client, ready=True) == [good]
        for path in ("", "/ready", "/stats"):
            response = client.get(f"{THERMOMETER}/versions/2{path}")
            assert broken["reason"] in error(response, 503)
            assert int(response.headers["retry-after"]) >= 1
        assert client.post("/v2/repository/index", content=b"").json() == [good, broken]


@pytest.mark.parametrize("body", [b"[]", b'{"ready":1}', b'{"ready":"true"}', b"{", b"null", b"\xff"])
def test_a_wrong_index_request_is_400(both: Running, body: bytes) -> None:
    """It is a boolean, or absent."""
    error(both.client.post("/v2/repository/index", content=body), 400)


@pytest.mark.parametrize("action", ["load", "unload"])
def test_models_are_not_loaded_by_clients(both: Running, action: str) -> None:
    """501 while administration is off, with files or without; what serves goes on serving."""
    files = {"parameters": {"config": "{}", "file:1/network.pt": "AAAA"}}
    for body in ({}, files):
        message = error(both.client.post(f"/v2/repository/models/wine/{action}", json=body), 501)
        assert "administration is off" in message
    error(both.client.post(f"/v2/repository/models/nope/{action}"), 404)
    assert len(index(both.client, ready=True)) == 3


# Inference


def test_an_inference_is_a_prediction(both: Running) -> None:
    """The same numbers as /predict and as the network; the flags; the id; the model and the version."""
    rows = [[50.0], [68.0], [212.0]]
    response = both.client.post(INFER, json=request(tensor(rows), id="a/ß 1"))
    document = response.json()
    assert {key: document[key] for key in ("model_name", "model_version", "id")} == {
        "model_name": "thermometer", "model_version": "1", "id": "a/ß 1",
    }  # fmt: skip
    found = outputs(response)
    assert list(found) == ["predictions", "out_of_range"]
    np.testing.assert_allclose(found["predictions"], expected(both, "thermometer", rows), rtol=1e-6)
    assert found["out_of_range"].tolist() == [False, False, True]
    predicted = both.client.post("/models/thermometer/predict", json={"fahrenheit": [50.0, 68.0, 212.0]}).json()
    assert document["outputs"][0]["data"] == predicted["predictions"]["celsius"]
    assert "server-timing" in response.headers
    assert "id" not in both.client.post(INFER, json=request(tensor(rows))).json()


@pytest.mark.parametrize(
    "inputs",
    [
        [tensor([1, 2, 3, 4, 5, 6], [3, 2])],
        [tensor([[1, 2], [3, 4], [5, 6]], [3, 2])],
        [tensor([1, 3, 5], [3], "acid"), tensor([2, 4, 6], [3], "sugar")],
        [tensor([[2], [4], [6]], [3, 1], "sugar"), tensor([1.0, 3e0, 5], [3, 1], "acid", datatype="FP64")],
    ],
    ids=["flat", "nested", "by feature", "by feature, in another order, nested"],
)
def test_inputs_may_be_sent_in_several_ways(both: Running, inputs: list[Document]) -> None:
    """One tensor of all features, or one for each; flat or nested; to a version by number or by label."""
    rows = [[1, 2], [3, 4], [5, 6]]
    for path, version in (("", 2), ("/versions/1", 1), ("/versions/2", 2), ("/versions/candidate", 1)):
        response = both.client.post(f"/v2/models/wine{path}/infer", json=request(*inputs))
        assert response.json()["model_version"] == str(version)
        np.testing.assert_allclose(
            outputs(response)["predictions"], expected(both, "wine", rows, version), rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_of_numbers_is_read(both: Running, datatype: str) -> None:
    """As JSON and as bytes, whatever the alignment."""
    values = np.array([0, 1, 50, 100], DTYPES[datatype])
    want = expected(both, "thermometer", values.astype(np.float32).reshape(-1, 1).tolist())
    for shape in ([4], [4, 1]):
        document = request(tensor(values.tolist(), shape, datatype=datatype), id="x" * len(shape))
        np.testing.assert_allclose(outputs(both.client.post(INFER, json=document))["predictions"], want, rtol=1e-6)
        body, headers = binary(document, values)
        response = both.client.post(INFER, content=body, headers=headers)
        np.testing.assert_allclose(outputs(response)["predictions"], want, rtol=1e-6)


def test_outputs_are_given_as_asked_for(both: Running) -> None:
    """By name, in that order; each as bytes or as JSON, by its own parameter, else by the request's."""
    url = "/v2/models/wine/infer"
    rows = [[1.0, 2.0], [300.0, 4.0]]
    want = expected(both, "wine", rows, 2)
    for everything in (True, False):
        wanted = [
            {"name": "price", "parameters": {"binary_data": True}},
            {"name": "out_of_range"},
            {"name": "score", "parameters": {"binary_data": False}},
            {"name": "predictions", "parameters": {"binary_data": True}},
        ]
        document = request(tensor(rows, [2, 2]), outputs=wanted, parameters={"binary_data_output": everything})
        response = both.client.post(url, json=document)
        found = outputs(response)
        assert list(found) == ["price", "out_of_range", "score", "predictions"]
        np.testing.assert_allclose(found["predictions"], want, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(found["price"], found["predictions"][:, 1])
        np.testing.assert_array_equal(found["score"], found["predictions"][:, 0])
        assert found["out_of_range"].tolist() == [False, True]
        described = json.loads(response.content[: int(response.headers[LENGTH])])["outputs"]
        assert ["data" in output for output in described] == [False, not everything, True, False]


def test_what_other_servers_read_is_passed_over(both: Running) -> None:
    """Clients of other servers send null for what they leave out, and parameters of their own."""
    document = request(
        tensor([50.0], parameters={"content_type": "np", "headers": None}),
        id=None, outputs=[], parameters={"content_type": "np", "priority": 3}, model_name="thermometer", raw=[{}],
    )  # fmt: skip
    assert list(outputs(both.client.post(INFER, json=document))) == ["predictions", "out_of_range"]
    document = request(tensor([50.0], parameters=None), outputs=None, parameters=None)
    assert list(outputs(both.client.post(INFER, json=document))) == ["predictions", "out_of_range"]


@pytest.mark.parametrize(("datatype", "value"), [("INT64", 2**63 - 1), ("INT64", -(2**63)), ("UINT64", 2**64 - 1)])
def test_the_largest_integers_are_the_same_as_json_and_as_bytes(both: Running, datatype: str, value: int) -> None:
    """A tensor of 64-bit integers may hold every one of them, whether it is sent as JSON or as bytes."""
    values = np.array([value, value // 3, 2**60 + 2**36 + 1, 50], DTYPES[datatype])
    document = request(tensor(values.tolist(), datatype=datatype))
    body, headers = binary(document, values)
    first = outputs(both.client.post(INFER, json=document))
    second = outputs(both.client.post(INFER, content=body, headers=headers))
    for name, found in first.items():
        np.testing.assert_array_equal(found, second[name])


def test_large_numbers_change_nothing_around_them(both: Running) -> None:
    """A number beyond 64 bits is read where it counts, passed over elsewhere, and is text within a string."""
    text = 'a "12345678901234567890123", 1e999 \\ ' + "9" * 400
    document = request(
        tensor([10**30, 50.0], parameters={"content_type": 10**400}),
        id=text, parameters={"priority": 10**30, text: [10**30, {"x": -(10**400)}]}, raw=[2**64],
    )  # fmt: skip
    response = both.client.post(INFER, json=document)
    assert response.json()["id"] == text
    small = outputs(both.client.post(INFER, json=request(tensor([1e30, 50.0]))))
    np.testing.assert_array_equal(outputs(response)["predictions"], small["predictions"])
    assert "twice" in error(both.client.post(INFER, content=b'{"id":1e999,"inputs":[],"inputs":[]}'), 400)


def test_any_content_type_will_do(both: Running) -> None:
    """Also none, as Triton's client sends, and whatever curl calls it."""
    body = json.dumps(request(tensor([50.0]))).encode()
    for headers in ({}, {"content-type": "application/x-www-form-urlencoded"}, {"content-type": "application/json"}):
        assert outputs(both.client.post(INFER, content=body, headers=headers))["predictions"].shape == (1, 1)


def test_a_raw_body_is_the_one_tensor(both: Running) -> None:
    """With a header length of 0: FP32, as many rows as there are bytes for; every output as bytes."""
    rows = np.array([[1, 2], [3, 4], [5, 6]], "<f4")
    response = both.client.post("/v2/models/wine/infer", content=rows.tobytes(), headers={LENGTH: "0"})
    found = outputs(response)
    np.testing.assert_allclose(found["predictions"], expected(both, "wine", rows.tolist(), 2), rtol=1e-6, atol=1e-6)
    assert found["out_of_range"].shape == (3,)
    assert LENGTH in response.headers
    message = error(both.client.post("/v2/models/wine/infer", content=b"1234", headers={LENGTH: "0"}), 400)
    assert "4 bytes" in message


def test_no_rows_are_answered_with_none(both: Running) -> None:
    """As JSON, as bytes, raw."""
    document = request(tensor([], [0, 1]))
    body, headers = binary({**document, "parameters": {"binary_data_output": True}}, np.zeros(0, "<f4"))
    for response in (
        both.client.post(INFER, json=document),
        both.client.post(INFER, content=body, headers=headers),
        both.client.post(INFER, content=b"", headers={LENGTH: "0"}),
    ):
        found = outputs(response)
        assert (found["predictions"].shape, found["out_of_range"].shape) == ((0, 1), (0,))


def test_a_million_values_are_what_the_network_gives(both: Running) -> None:
    """Through bytes, to 1e-6."""
    rows = np.random.default_rng(0).uniform(-100, 300, (1_000_000, 1)).astype("<f4")
    document = request(tensor([], rows.shape), parameters={"binary_data_output": True})
    body, headers = binary(document, rows)
    found = outputs(both.client.post(INFER, content=body, headers=headers))["predictions"]
    with torch.inference_mode():
        network = artifact.read(both.artifacts / "thermometer" / "1").network
        want = network(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-6)


NUMBERS = st.floats(-1e6, 1e6, width=32)


@given(rows=st.lists(st.tuples(NUMBERS, NUMBERS), max_size=30))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_json_bytes_and_predict_agree(both: Running, rows: list[tuple[float, float]]) -> None:
    """The same rows get the same numbers, whichever way they go."""
    table = {"acid": [row[0] for row in rows], "sugar": [row[1] for row in rows]}
    predicted = both.client.post("/models/wine/predict", json=table).json()
    want = np.array([predicted["predictions"]["score"], predicted["predictions"]["price"]], np.float32).T
    document = request(tensor([list(row) for row in rows], [len(rows), 2]))
    body, headers = binary(document, np.array(rows, "<f4").reshape(-1, 2))
    for response in (
        both.client.post("/v2/models/wine/infer", json=document),
        both.client.post("/v2/models/wine/infer", content=body, headers=headers),
    ):
        found = outputs(response)
        np.testing.assert_array_equal(found["predictions"], want)
        assert np.flatnonzero(found["out_of_range"]).tolist() == predicted["out_of_range"]


# The API's document


def test_the_document_has_a_request_that_works(service: Running) -> None:
    """Its example for the default model, as it stands."""
    document = service.client.get("/openapi.json").json()
    content = document["paths"]["/v2/models/{model}/infer"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "application/octet-stream"}
    assert outputs(service.client.post(INFER, json=content["application/json"]["example"]))["predictions"].size == 2
    assert {"InferenceRequest", "InputTensor", "InferenceResponse", "ErrorDocument"} <= set(
        document["components"]["schemas"]
    )
