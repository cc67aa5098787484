"""A network with intervals: the networks that left readings out, stacked, and the bounds that follow from them.

Owns the form of jackknife+ and CV+ in a file: Barber, Candes, Ramdas and Tibshirani, "Predictive inference with
the jackknife+", Annals of Statistics 49 (2021), https://arxiv.org/abs/1905.02928. Knows nothing of fitting.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from training.network import ACTIVATIONS, Logarithm, Network, Scaling

# The weights ``[M, out, in]`` and biases ``[M, out]`` of one layer of M networks.
StackedLayer: TypeAlias = tuple[Tensor, Tensor]


class Stacked(nn.Module):
    """One layer of M networks: ``[M, in, B]``, or ``[in, B]`` for all of them, to ``[M, out, B]``."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Rows are columns here, so that the order statistics of many rows are found side by side."""
        return torch.matmul(self.weight, x) + self.bias


class OfReadings(nn.Module):
    """From K networks to n readings: each gets what the network of its fold says."""

    fold: Tensor

    def __init__(self, fold: Tensor) -> None:
        super().__init__()
        self.register_buffer("fold", fold)

    def forward(self, x: Tensor) -> Tensor:
        """``[K, targets, B]`` to ``[n, targets, B]``."""
        return torch.index_select(x, 0, self.fold)


class LeftOut(nn.Sequential):
    """For each of n readings a network that was fitted without it: ``[B, features]`` to ``[n, targets, B]``.

    It holds buffers only. Features are as the layers of the point network see them, targets in raw units.
    """

    def forward(self, x: Tensor) -> Tensor:
        """What each of them says."""
        x = torch.t(x)
        for layer in self:
            x = layer(x)
        return x


class NetworkWithIntervals(Network):
    """A network that also bounds its answers: the same layers, and `left_out` beside them.

    `residuals` ``[n, targets, 1]`` are how far off each reading was without itself, absolute and in raw units.
    """

    residuals: Tensor

    def __init__(self, network: Network, left_out: LeftOut, residuals: Tensor) -> None:
        features = Scaling(network.feature_offset, network.feature_scale)
        targets = Scaling(network.target_offset, network.target_scale)
        super().__init__(OrderedDict(network.named_children()), features, targets)
        self.left_out = left_out
        self.register_buffer("residuals", residuals)

    def folds(self) -> int:
        """How many networks were left out."""
        return len(next(self.left_out.buffers()))

    @torch.jit.export
    def left_out_predictions(self, x: Tensor) -> Tensor:
        """What the network without each of n readings says of `x`, ``[n, targets, B]``, all in raw units."""
        x = (x - self.feature_offset) / self.feature_scale
        for name, layer in self.named_children():
            if name == "feature_logarithm":
                x = layer(x)
        predictions: Tensor = self.left_out(x)
        return predictions

    @torch.jit.export
    def interval(self, x: Tensor, rank: int) -> Tensor:
        """Predictions, lower and upper bounds, ``[B, 3 targets]``, for `x`, all in raw units.

        The bounds are the `rank`-th smallest and the `rank`-th largest of n; `rank` is from 1, the widest, to n.
        """
        without = self.left_out_predictions(x)
        below, above = without - self.residuals, without + self.residuals
        if rank == 1:  # the same, and many times faster
            lower, upper = torch.amin(below, 0), torch.amax(above, 0)
        else:
            lower = torch.kthvalue(below, rank, 0)[0]
            upper = torch.kthvalue(above, len(above) - rank + 1, 0)[0]
        return torch.cat([self.forward(x), torch.t(lower), torch.t(upper)], 1)


def with_intervals(
    network: Network, layers: Sequence[StackedLayer], residuals: Tensor, folds: Tensor
) -> NetworkWithIntervals:
    """The network with intervals by M others of its shape.

    `layers` are theirs, one for each linear layer of `network`, in the same scaled units. `residuals` ``[n, targets]``
    are absolute, in raw units; `folds` ``[n]`` says which of the M was fitted without each of these readings.
    """
    count = len(layers[0][0])
    is_tanh = any(isinstance(layer, nn.Tanh) for layer in network.children())
    stacked = iter(_in_raw_units(_by_sigmoid(layers) if is_tanh else layers, network))
    children: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in network.named_children():
        if isinstance(layer, Logarithm):
            continue
        if isinstance(layer, nn.Linear):
            weight, bias = next(stacked)
            children[name] = Stacked(weight.float().contiguous(), bias.unsqueeze(2).float().contiguous())
        else:
            children[name] = ACTIVATIONS["sigmoid"]() if is_tanh else layer
    if not torch.equal(folds, torch.arange(count)):
        children["of_readings"] = OfReadings(folds.long())
    return NetworkWithIntervals(network, LeftOut(children), residuals.unsqueeze(2).float())


def _by_sigmoid(layers: Sequence[StackedLayer]) -> list[StackedLayer]:
    """The same networks with sigmoids: tanh z is 2 sigmoid(2 z) - 1, and torch's sigmoid is six times as fast."""
    found = []
    for at, (weight, bias) in enumerate(layers):
        w, b = weight.double(), bias.double()
        if at:
            w, b = 2 * w, b - w.sum(dim=2)
        if at < len(layers) - 1:
            w, b = 2 * w, 2 * b
        found.append((w, b))
    return found


def _in_raw_units(layers: Sequence[StackedLayer], network: Network) -> list[StackedLayer]:
    """The same with the targets' scaling in the last layer."""
    *others, (weight, bias) = layers
    scale, offset = network.target_scale.double(), network.target_offset.double()
    return [*others, (weight * scale.unsqueeze(1), bias * scale + offset)]
