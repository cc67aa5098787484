"""Many networks of one shape as one matrix: row m of ``[members, size]`` is every parameter of network m.

Owns where each layer lies in a row, and what the networks and their Jacobians are for such a matrix. Knows nothing of
fitting, nor of scaling: values in and out are what the layers see.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import jvp

from training.network import ACTIVATIONS


@dataclass(frozen=True, slots=True)
class Stack:
    """The shape that the networks share: `widths` of the features, of each hidden layer, and of the targets."""

    widths: tuple[int, ...]
    activation: str

    @property
    def size(self) -> int:
        """How many parameters one network has."""
        return sum((before + 1) * after for before, after in pairwise(self.widths))

    def layers(self, parameters: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Views of each layer's weights ``[members, out, in]`` and biases ``[members, out]``, from the features on."""
        start = 0
        for before, after in pairwise(self.widths):
            bias = start + before * after
            weight = parameters[:, start:bias].view(-1, after, before)
            yield weight, parameters[:, bias : bias + after]
            start = bias + after

    def flatten(self, layers: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """The inverse of `layers`."""
        return torch.cat([part.flatten(1) for layer in layers for part in layer], dim=1)

    def outputs(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The targets ``[members, rows, targets]`` for features ``[members, rows, features]``."""
        act = ACTIVATIONS[self.activation]()
        *hidden, (weight, bias) = self.layers(parameters)
        for w, b in hidden:
            x = act(_linear(x, w, b))
        return _linear(x, weight, bias)

    def jacobian(self, parameters: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs, and their derivatives ``[members, rows, targets, size]`` by each network's own parameters.

        Backpropagation by hand: `torch.func.jacrev` under `vmap` gives the same to the last digit and takes four times
        as long.
        """
        act = ACTIVATIONS[self.activation]()
        *hidden, (weight, bias) = layers = list(self.layers(parameters))
        inputs, slopes = [x], []
        for w, b in hidden:
            z = _linear(x, w, b)
            x, slope = jvp(act, (z,), (torch.ones_like(z),))  # type: ignore[misc]
            inputs.append(x)
            slopes.append(slope)
        outputs = _linear(x, weight, bias)
        targets = outputs.shape[-1]
        by_output = torch.eye(targets, dtype=x.dtype, device=x.device).expand(*outputs.shape, targets)
        parts: list[Tensor] = []
        for depth in reversed(range(len(layers))):
            by_weight = by_output.unsqueeze(-1) * inputs[depth][:, :, None, None, :]
            parts = [by_weight.flatten(-2), by_output, *parts]
            if depth:
                by_output = (by_output @ layers[depth][0].unsqueeze(1)) * slopes[depth - 1].unsqueeze(-2)
        return outputs, torch.cat(parts, dim=-1)

    def blocks(self) -> Tensor:
        """Which parameters belong together ``[size]``: each feature's weights, then each layer's weights and biases."""
        numbers: list[int] = []
        block = 0
        for depth, (before, after) in enumerate(pairwise(self.widths)):
            own = before if depth == 0 else 1
            numbers += [block + column % own for _ in range(after) for column in range(before)]
            numbers += [block + own] * after
            block += own + 1
        return torch.tensor(numbers)

    def of(self, networks: Iterable[nn.Module]) -> Tensor:
        """The matrix that holds these networks' parameters."""
        return torch.stack([torch.cat([p.detach().flatten() for p in network.parameters()]) for network in networks])

    def write(self, row: Tensor, network: nn.Module) -> None:
        """Copy a row ``[size]`` of the matrix into a network of this shape."""
        start = 0
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(row[start : start + parameter.numel()].view_as(parameter))
                start += parameter.numel()


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias.unsqueeze(1), x, weight.mT)
