"""Runs a straight-line network operator by operator, in place, without TorchScript's interpreter.

A small network's time is mostly the interpreter's, and a large batch's mostly memory's. Where a frozen graph is a
chain of operators from the table below, each value used once, they are called directly: the same kernels, so the same
bits. Any other graph stays with TorchScript.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Step: TypeAlias = Callable[[Tensor], Tensor]

# Its output is its input's memory.
_VIEW = "aten::t"

# What each operator is in Python, in place where there is such a form: the values of a chain have no other reader, but
# for its input, which is the caller's.
_OPERATORS: Mapping[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "aten::add": (torch.add, Tensor.add_),
    "aten::index_select": (torch.index_select, torch.index_select),
    _VIEW: (torch.t, torch.t),
    "aten::linear": (functional.linear, functional.linear),
    "aten::sub": (torch.sub, Tensor.sub_),
    "aten::div": (torch.div, Tensor.div_),
    "aten::asinh": (torch.asinh, torch.asinh_),
    "aten::tanh": (torch.tanh, torch.tanh_),
    "aten::sigmoid": (torch.sigmoid, torch.sigmoid_),
    "aten::relu": (torch.relu, torch.relu_),
    "aten::leaky_relu": (functional.leaky_relu, functional.leaky_relu_),
    "aten::hardtanh": (functional.hardtanh, functional.hardtanh_),
    "aten::softplus": (functional.softplus, functional.softplus),
}


def compiled(graph: Any) -> Step | None:  # noqa: ANN401 - torch._C.Graph
    """A frozen method's graph, of one tensor to another, as direct calls; None where it is not such a chain."""
    _, value = graph.inputs()
    constants: dict[str, Any] = {}
    steps: list[Step] = []
    owned = False
    for node in graph.nodes():
        if node.kind() == "prim::Constant":
            constants[node.output().debugName()] = node.output().toIValue()
            continue
        step = _step(node, value.debugName(), constants, owned=owned)
        if step is None or len(value.uses()) != 1:
            return None
        steps.append(step)
        value = node.output()
        owned = owned or node.kind() != _VIEW
    if [output.debugName() for output in graph.outputs()] != [value.debugName()]:
        return None

    def run(rows: Tensor) -> Tensor:
        for step in steps:
            rows = step(rows)
        return rows

    return run


def _step(node: Any, value: str, constants: Mapping[str, Any], *, owned: bool) -> Step | None:  # noqa: ANN401 - torch._C.Node
    """The operator of `node` with everything bound but `value`, or None where it is not one of those above.

    In place where the value is `owned`: it is no longer the caller's.
    """
    names = [argument.debugName() for argument in node.inputs()]
    if not all(name == value or name in constants for name in names):
        return None
    arguments: list[Any] = [constants.get(name) for name in names]
    match node.kind(), names.index(value) if value in names else None:
        case "aten::addcmul", 1 if arguments[3] == 1:
            offset, _, scale, _ = arguments
            return lambda x: torch.addcmul(offset, x, scale)
        case "aten::matmul", 1:
            weight = arguments[0]
            return lambda x: torch.matmul(weight, x)
        case "aten::add" | "aten::sub", 0 if arguments[2] == 1:
            arguments.pop()
        case kind, 0 if kind in _OPERATORS and kind not in {"aten::add", "aten::sub"}:
            pass
        case _:
            return None
    fresh, in_place = _OPERATORS[node.kind()]
    function, bound = in_place if owned else fresh, tuple(arguments[1:])
    return lambda x: function(x, *bound)
