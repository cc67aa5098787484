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

# What each operator is in Python, in place where there is such a form: the values of a chain have no other reader. The
# first of a chain is not in place, as its input is the caller's.
_OPERATORS: Mapping[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
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


def compiled(frozen: torch.jit.ScriptModule) -> Step | None:
    """The network ``[N, features]`` to ``[N, targets]`` as direct calls; None where its graph is not such a chain."""
    graph = frozen.graph
    _, value = graph.inputs()
    constants: dict[str, Any] = {}
    steps: list[Step] = []
    for node in graph.nodes():
        if node.kind() == "prim::Constant":
            constants[node.output().debugName()] = node.output().toIValue()
            continue
        step = _step(node, value.debugName(), constants, first=not steps)
        if step is None or len(value.uses()) != 1:
            return None
        steps.append(step)
        value = node.output()
    if [output.debugName() for output in graph.outputs()] != [value.debugName()]:
        return None

    def run(rows: Tensor) -> Tensor:
        for step in steps:
            rows = step(rows)
        return rows

    return run


def _step(node: Any, value: str, constants: Mapping[str, Any], *, first: bool) -> Step | None:  # noqa: ANN401 - torch._C.Node
    """The operator of `node` with everything bound but `value`, or None where it is not one of those above."""
    names = [argument.debugName() for argument in node.inputs()]
    if not all(name == value or name in constants for name in names):
        return None
    arguments: list[Any] = [constants.get(name) for name in names]
    match node.kind(), names.index(value) if value in names else None:
        case "aten::addcmul", 1 if arguments[3] == 1:
            offset, _, scale, _ = arguments
            return lambda x: torch.addcmul(offset, x, scale)
        case "aten::sub", 0 if arguments[2] == 1:
            arguments.pop()
        case kind, 0 if kind in _OPERATORS and kind != "aten::sub":
            pass
        case _:
            return None
    fresh, in_place = _OPERATORS[node.kind()]
    function, bound = fresh if first else in_place, tuple(arguments[1:])
    return lambda x: function(x, *bound)
