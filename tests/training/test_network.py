"""The network: its names, its scaling, and the same answers after it was exported."""

import io
import subprocess
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch.testing import assert_close

from service import artifact
from training.network import ACTIVATIONS, Scaling, build

Process = Callable[..., "subprocess.Popen[str]"]

EXPORT = """
import torch
from service import artifact
from training.network import ACTIVATIONS, Scaling, build
for name in ACTIVATIONS:
    torch.manual_seed(0)
    print(artifact.describe(artifact.serialize(build([3, 2], name, Scaling.by(10), Scaling.by(1)))))
"""


def test_layers_and_parameters_have_the_promised_names() -> None:
    """One hidden layer has no number; the scaling is neither a layer nor a parameter."""
    network = build([8], "tanh", Scaling.by(10), Scaling.by(1))
    assert [name for name, _ in network.named_children()] == ["hidden_linear", "hidden_activation", "output_linear"]
    assert {name: list(value.shape) for name, value in network.named_parameters()} == {
        "hidden_linear.weight": [8, 1],
        "hidden_linear.bias": [8],
        "output_linear.weight": [1, 8],
        "output_linear.bias": [1],
    }


def test_several_hidden_layers_are_numbered() -> None:
    """Numbers count from 1, for linear layers and activations alike."""
    network = build([3, 2], "relu", Scaling.by(1, 4), Scaling.by(1, 2))
    hidden = ["hidden_linear_1", "hidden_activation_1", "hidden_linear_2", "hidden_activation_2"]
    assert [name for name, _ in network.named_children()] == [*hidden, "output_linear"]
    assert network(torch.zeros(5, 4)).shape == (5, 2)


def test_without_a_hidden_layer_it_is_the_linear_model() -> None:
    """One linear layer with scaling around it: w (x - 10) / 5 + b, times 3 plus 100."""
    scaling = Scaling(torch.tensor([10.0]), torch.tensor([5.0]))
    network = build([], "tanh", scaling, Scaling(torch.tensor([100.0]), torch.tensor([3.0])))
    with torch.no_grad():
        network.get_parameter("output_linear.weight").fill_(2)
        network.get_parameter("output_linear.bias").fill_(1)
    assert network(torch.tensor([[10.0], [20.0]])).tolist() == [[103.0], [115.0]]


def test_standardised_columns_have_mean_0_and_deviation_1() -> None:
    """Each column is scaled by its own mean and standard deviation."""
    values = torch.tensor([[1.0, 100.0], [3.0, 300.0]])
    scaling = Scaling.standardising(values)
    assert ((values - scaling.offset) / scaling.scale).tolist() == [[-1, -1], [1, 1]]


@pytest.mark.parametrize(("activation", "hidden"), list(product(ACTIVATIONS, [[8], [4, 3]])))
def test_the_exported_network_answers_as_the_one_in_memory(activation: str, hidden: list[int]) -> None:
    """Outputs and activations are equal after the way through TorchScript, for every activation."""
    network = build(hidden, activation, Scaling.by(10, 2), Scaling.by(3))
    exported = torch.jit.load(io.BytesIO(artifact.serialize(network)))  # type: ignore[no-untyped-call]
    x = torch.randn(7, 2) * 10
    assert_close(exported(x), network(x), rtol=0, atol=1e-6)
    layers, exported_layers = network.activations(x), exported.activations(x)
    assert list(layers) == list(exported_layers) == [name for name, _ in network.named_children()]
    assert_close(exported_layers, layers, rtol=0, atol=1e-6)
    assert_close(layers["output_linear"] * 3, network(x))


def test_the_exported_bytes_do_not_depend_on_the_order_of_sets(process: Process) -> None:
    """Processes with different string hashes export the same bytes, for every activation."""
    exports = [process("-c", EXPORT, environment={"PYTHONHASHSEED": str(seed)}) for seed in (1, 2, 3)]
    outputs = [export.communicate(timeout=60)[0] for export in exports]
    assert outputs[0].count("sha256") == len(ACTIVATIONS)
    assert outputs == outputs[:1] * 3
