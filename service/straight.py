"""Runs a chain of linear layers and activations by one call each, without TorchScript's interpreter.

A small network's time is mostly the interpreter's, and a large batch's mostly memory's. Where a frozen graph is such a
chain, its scaling is folded into the layers beside it. Any other graph stays with TorchScript. The numbers are the
network's to 1e-6 of their size: the same sums, rounded in another order.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Step: TypeAlias = Callable[[Tensor], Tensor]

# In place where there is such a form: a layer's sum has no other reader.
_ACTIVATIONS: Mapping[str, Callable[..., Tensor]] = {
    "aten::tanh": torch.tanh_,
    "aten::sigmoid": torch.sigmoid_,
    "aten::relu": torch.relu_,
    "aten::leaky_relu": functional.leaky_relu_,
    "aten::hardtanh": functional.hardtanh_,
    "aten::softplus": functional.softplus,
}
# Up to this width, layers are faster with a batch's rows beside each other in memory than with a row's values.
_NARROW = 32


@dataclass(slots=True)
class _Layer:
    """A linear layer, weight ``[out, in]`` and bias ``[out]`` in float64, and what comes after its sum."""

    weight: Tensor
    bias: Tensor
    activation: Step | None = None


class _OtherGraph(Exception):
    """It is no such chain."""


def compiled(frozen: torch.jit.ScriptModule) -> Step | None:
    """The network ``[N, features]`` to ``[N, targets]`` as direct calls; None where its graph is not such a chain."""
    try:
        offset, layers = _folded(_chain(frozen.graph))
    except _OtherGraph:
        return None
    narrow = all(max(layer.weight.shape) <= _NARROW for layer in layers)
    return _by_columns(offset, layers) if narrow else _by_rows(offset, layers)


def _chain(graph: Any) -> Iterator[tuple[str, int, list[Any]]]:  # noqa: ANN401 - torch._C.Graph
    """Each operator's kind, which argument is the last one's value, and the other arguments, which are constants."""
    _, value = graph.inputs()
    constants: dict[str, Any] = {}
    for node in graph.nodes():
        if node.kind() == "prim::Constant":
            constants[node.output().debugName()] = node.output().toIValue()
            continue
        names = [argument.debugName() for argument in node.inputs()]
        if names.count(value.debugName()) != 1 or len(value.uses()) != 1:
            raise _OtherGraph
        position = names.index(value.debugName())
        names.pop(position)
        if not constants.keys() >= set(names):
            raise _OtherGraph
        yield node.kind(), position, [constants[name] for name in names]
        value = node.output()
    if [output.debugName() for output in graph.outputs()] != [value.debugName()]:
        raise _OtherGraph


def _folded(chain: Iterator[tuple[str, int, list[Any]]]) -> tuple[Tensor, list[_Layer]]:
    """What to subtract from the features ``[features]``, and the layers with the rest of the scaling in them."""
    offset, scale = torch.zeros(1), torch.ones(1, dtype=torch.float64)
    layers: list[_Layer] = []
    before = ""
    for kind, position, constants in chain:
        match kind, position, constants:
            # Not folded: a reading far from zero has its digits only once the offset is gone.
            case "aten::sub", 0, [Tensor() as offset, 1] if not before:
                pass
            case "aten::div", 0, [Tensor() as divisor] if before in {"", "aten::sub"}:
                scale = divisor.double()
            case "aten::linear", 0, [weight, bias]:
                layers.append(_Layer(weight.double() / scale, torch.zeros(1) if bias is None else bias.double()))
                scale = torch.ones_like(scale[:1])
            case kind, 0, _ if kind in _ACTIVATIONS and before == "aten::linear":
                layers[-1].activation = _bound(_ACTIVATIONS[kind], constants)
            case "aten::addcmul", 1, [shift, factor, 1] if before == "aten::linear":
                last = layers[-1]
                last.weight, last.bias = last.weight * factor.reshape(-1, 1), last.bias * factor + shift
            case _:
                raise _OtherGraph
        before = kind
    if not layers or not all(_is_float32(layer.weight) and _is_float32(layer.bias) for layer in layers):
        raise _OtherGraph
    return offset, layers


def _is_float32(values: Tensor) -> bool:
    """Whether float32 has these numbers with all its digits: not where a scale makes them too large or too small."""
    return torch.allclose(values.float().double(), values, rtol=1e-7, atol=0)


def _bound(function: Callable[..., Tensor], constants: list[Any]) -> Step:
    return (lambda x: function(x, *constants)) if constants else function


def _by_rows(offset: Tensor, layers: list[_Layer]) -> Step:
    steps = [(layer.weight.float(), layer.bias.float(), layer.activation) for layer in layers]

    def run(rows: Tensor) -> Tensor:
        values = torch.sub(rows, offset)
        for weight, bias, activation in steps:
            values = functional.linear(values, weight, bias)
            if activation is not None:
                values = activation(values)
        return values

    return run


def _by_columns(offset: Tensor, layers: list[_Layer]) -> Step:
    column = offset.reshape(-1, 1)
    steps = [(layer.weight.float(), layer.bias.float().reshape(-1, 1), layer.activation) for layer in layers]

    def run(rows: Tensor) -> Tensor:
        values = torch.sub(rows.T, column)
        for weight, bias, activation in steps:
            values = torch.addmm(bias, weight, values)
            if activation is not None:
                values = activation(values)
        return values.T

    return run
