"""The network: named layers, with the scaling to and from raw units inside.

Owns its shape and what scaling means. Knows nothing of training, nor of files.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn


def _repeatable(kind: type[nn.Module]) -> Callable[..., nn.Module]:
    # TorchScript writes a layer's constants in the order of a set, which differs from process to process. As plain
    # attributes they have a fixed one, so that the same seed gives the same file.
    return type(kind.__name__, (kind,), {"__constants__": (), "__module__": __name__})


ACTIVATIONS: Final[Mapping[str, Callable[[], nn.Module]]] = {
    "tanh": _repeatable(nn.Tanh),
    "hardtanh": _repeatable(nn.Hardtanh),
    "sigmoid": _repeatable(nn.Sigmoid),
    "softplus": _repeatable(nn.Softplus),
    "relu": _repeatable(nn.ReLU),
    "leakyrelu": _repeatable(nn.LeakyReLU),
}

_linear: Final = _repeatable(nn.Linear)


@dataclass(frozen=True, slots=True)
class Scaling:
    """Where zero lies and how long one is for the layers, per column and in its unit; float32 ``[columns]``."""

    offset: Tensor
    scale: Tensor

    @classmethod
    def standardising(cls, values: Tensor) -> "Scaling":
        """The scaling that gives the rows of `values` ``[rows, columns]`` mean 0 and standard deviation 1."""
        exact = values.double()
        return cls(exact.mean(dim=0).float(), exact.std(dim=0, correction=0).float())

    def of(self, values: Tensor) -> Tensor:
        """Raw values ``[rows, columns]`` as the layers see them, in float64."""
        return (values.double() - self.offset.double()) / self.scale.double()

    @classmethod
    def by(cls, scale: float, columns: int = 1) -> "Scaling":
        """The scaling that leaves zero where it is and makes `scale` the unit of every column."""
        return cls(torch.zeros(columns), torch.full((columns,), scale))


class Logarithm(nn.Module):
    """Features that span decades, evened out: ``asinh`` of `x`, which is in units of its smallest reading.

    That is the logarithm for most of its range; unlike it, it also has an answer for zero and below. Afterwards values
    have mean 0 and standard deviation 1, as those of the other features have already.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, scaling: Scaling) -> None:
        super().__init__()
        self.register_buffer("offset", scaling.offset)
        self.register_buffer("scale", scaling.scale)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, features]`` to ``[B, features]``."""
        return (torch.asinh(x) - self.offset) / self.scale


class LogarithmOfSome(Logarithm):
    """The same for features that are `chosen` ``[features]``; others pass as they are."""

    chosen: Tensor

    def __init__(self, scaling: Scaling, chosen: Tensor) -> None:
        super().__init__(scaling)
        # 1 or 0, as an artifact holds no booleans.
        self.register_buffer("chosen", chosen.float())

    def forward(self, x: Tensor) -> Tensor:
        """``[B, features]`` to ``[B, features]``."""
        return torch.where(self.chosen > 0, (torch.asinh(x) - self.offset) / self.scale, x)


class Network(nn.Sequential):
    """Named layers between raw units: ``[B, features]`` float32 in, ``[B, targets]`` float32 out.

    A child ``left_out`` is no layer of it: see `training.intervals`.
    """

    feature_offset: Tensor
    feature_scale: Tensor
    target_offset: Tensor
    target_scale: Tensor

    def __init__(self, layers: OrderedDict[str, nn.Module], features: Scaling, targets: Scaling) -> None:
        super().__init__(layers)
        self.register_buffer("feature_offset", features.offset)
        self.register_buffer("feature_scale", features.scale)
        self.register_buffer("target_offset", targets.offset)
        self.register_buffer("target_scale", targets.scale)

    def forward(self, x: Tensor) -> Tensor:
        """The targets for the features `x`, both in raw units."""
        # Subtracting first is exact for readings far from zero; one fused multiply-add in its place would not be.
        x = (x - self.feature_offset) / self.feature_scale
        for name, layer in self.named_children():
            if name != "left_out":
                x = layer(x)
        return torch.addcmul(self.target_offset, x, self.target_scale)

    @torch.jit.export
    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """The output ``[B, width]`` of every layer by name, in order, for raw `x`; the last is still scaled."""
        outputs: dict[str, Tensor] = {}
        x = (x - self.feature_offset) / self.feature_scale
        for name, layer in self.named_children():
            if name != "left_out":
                x = layer(x)
                outputs[name] = x
        return outputs


def build(
    hidden: Sequence[int], activation: str, features: Scaling, targets: Scaling, logarithm: Logarithm | None = None
) -> Network:
    """A network with fresh parameters from torch's random state; without a hidden layer it is the linear model."""
    widths = [len(features.offset), *hidden]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if logarithm:
        layers["feature_logarithm"] = logarithm
    for position, (before, after) in enumerate(pairwise(widths), start=1):
        number = f"_{position}" if len(hidden) > 1 else ""
        layers[f"hidden_linear{number}"] = _linear(before, after)
        layers[f"hidden_activation{number}"] = ACTIVATIONS[activation]()
    layers["output_linear"] = _linear(widths[-1], len(targets.offset))
    return Network(layers, features, targets)


def fresh(seed: int, hidden: Sequence[int], activation: str, features: Scaling, targets: Scaling) -> Network:
    """A network as the seed makes it; torch's random state stays the caller's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(hidden, activation, features, targets)
