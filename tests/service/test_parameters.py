"""GET /parameters: the network's own numbers, as JSON and as a safetensors file."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from running import Running
from service import artifact
from service.artifact import Artifact

SHAPES = {
    "hidden_linear.weight": [8, 1],
    "hidden_linear.bias": [8],
    "output_linear.weight": [1, 8],
    "output_linear.bias": [1],
}


@pytest.fixture
def published(thermometer: Path) -> Artifact:
    """The version, read right here."""
    return artifact.read(thermometer / "thermometer" / "1")


def test_every_parameter_comes_with_its_value_and_gradient(service: Running, published: Artifact) -> None:
    """A fresh 1-8-1 has these four, equal to those of the network that was trained."""
    body = service.client.get("/parameters").json()
    assert (body["model"], body["version"], body["count"]) == ("thermometer", "1", 25)
    assert {parameter["name"]: parameter["shape"] for parameter in body["parameters"]} == SHAPES
    values = dict(published.network.named_parameters())
    for parameter in body["parameters"]:
        assert parameter["dtype"] == "float32"
        assert torch.equal(torch.tensor(parameter["values"]), values[parameter["name"]])
        assert torch.equal(torch.tensor(parameter["gradient"]), published.gradients[parameter["name"]])


def test_gradients_are_those_of_the_training_record(service: Running) -> None:
    """What /report holds and what /parameters gives is the same."""
    recorded = service.client.get("/report").json()["gradients"]
    for parameter in service.client.get("/parameters").json()["parameters"]:
        np.testing.assert_allclose(parameter["gradient"], recorded[parameter["name"]], rtol=1e-6)


def test_statistics_are_of_the_values(service: Running) -> None:
    """Minimum, maximum, mean, population standard deviation and Euclidean norm."""
    parameter = service.client.get("/parameters/hidden_linear.weight").json()
    values = np.array(parameter["values"])
    expected = [values.min(), values.max(), values.mean(), values.std(), np.sqrt((values**2).sum())]
    assert list(parameter["statistics"]) == ["min", "max", "mean", "std", "norm"]
    np.testing.assert_allclose(list(parameter["statistics"].values()), expected, rtol=1e-6)


def test_values_can_be_left_out(service: Running) -> None:
    """``?values=false`` gives the names, shapes and statistics alone."""
    for parameter in service.client.get("/parameters?values=false").json()["parameters"]:
        assert set(parameter) == {"name", "shape", "dtype", "statistics"}


def test_one_parameter_by_name(service: Running) -> None:
    """The same as its place in the list, and whose it is."""
    everything = service.client.get("/parameters").json()
    one = service.client.get("/parameters/output_linear.bias").json()
    assert (one.pop("model"), one.pop("version")) == ("thermometer", "1")
    assert one == everything["parameters"][3]


@pytest.mark.parametrize("path", ["/parameters", "/models/thermometer/versions/1/parameters"])
def test_safetensors_hold_the_state_of_the_network(service: Running, published: Artifact, path: str) -> None:
    """What comes loads into a network of the same shape."""
    response = service.client.get(path, headers={"accept": "application/vnd.safetensors"})
    assert response.headers["content-type"] == "application/vnd.safetensors"
    tensors = safetensors.torch.load(response.content)
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == SHAPES
    for name, value in published.network.named_parameters():
        assert torch.equal(tensors[name], value)


def test_one_parameter_as_safetensors(service: Running) -> None:
    """A file of that one."""
    response = service.client.get(
        "/parameters/hidden_linear.bias", headers={"accept": "application/vnd.safetensors, application/json;q=0.9"}
    )
    assert list(safetensors.torch.load(response.content)) == ["hidden_linear.bias"]


@pytest.mark.parametrize("path", ["/parameters", "/parameters/hidden_linear.bias", "/parameters?values=false"])
@pytest.mark.parametrize("accept", ["application/json", "application/vnd.safetensors"])
def test_what_the_client_has_is_not_sent_again(service: Running, path: str, accept: str) -> None:
    """The tag comes back as If-None-Match, and gets a 304 without a body; another tag gets everything."""
    first = service.client.get(path, headers={"accept": accept})
    tag = first.headers["etag"]
    for sent in (tag, f'"other", W/{tag}', "*"):
        again = service.client.get(path, headers={"accept": accept, "if-none-match": sent})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = service.client.get(path, headers={"accept": accept, "if-none-match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)


def test_each_form_has_a_tag_of_its_own(service: Running) -> None:
    """A cache must not give one form for another."""
    tags = [
        service.client.get(path, headers={"accept": accept}).headers["etag"]
        for path in ("/parameters", "/parameters/hidden_linear.bias", "/parameters?values=false")
        for accept in ("application/json", "application/vnd.safetensors")
    ]
    assert len(set(tags)) == 6


def test_activations_are_the_output_of_every_layer(service: Running, published: Artifact) -> None:
    """By name and in order; the activation is tanh of the layer before it."""
    body = service.client.post("/activations", json={"fahrenheit": [50.0, 60.0]}).json()
    layers = body["activations"]
    assert list(layers) == ["hidden_linear", "hidden_activation", "output_linear"]
    assert np.shape(layers["hidden_linear"]) == (2, 8)
    np.testing.assert_allclose(layers["hidden_activation"], np.tanh(layers["hidden_linear"]), rtol=1e-5)
    weights = dict(published.network.named_parameters())
    by_hand = layers["hidden_activation"] @ weights["output_linear.weight"].detach().numpy().T
    by_hand = by_hand + weights["output_linear.bias"].detach().numpy()
    np.testing.assert_allclose(layers["output_linear"], by_hand, rtol=1e-5)


def test_activations_of_too_many_rows_are_refused(service: Running) -> None:
    """A million values at most, and the answer says so."""
    body = json.dumps({"fahrenheit": [1.0] * 60_000})
    response = service.client.post("/activations", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 413
