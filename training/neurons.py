"""The picture of a network's hidden neurons: what each gives, and how their weighted outputs add up to the answer.

For one feature and networks as `fit` makes them, whose last layer is linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training import pictures, svg
from training.record import spread_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DRAWN_NEURONS = 32
_DRAWN_SUMS = 8


@dataclass(frozen=True, slots=True)
class Neurons:
    """The hidden neurons over the range of the feature `x` ``[points, 1]``.

    `outputs` are those of each hidden activation ``[points, width]``. In the targets' units, `start` ``[targets]`` is
    the answer without any neuron, and `shares` ``[points, width, targets]`` what each of the last layer's adds to it.
    """

    x: Tensor
    outputs: Mapping[str, Tensor]
    shares: Tensor
    start: Tensor


def look(version: pictures.Version) -> Neurons | None:
    """The neurons of a version; None where there are several features, no hidden layer, or layers of another kind."""
    network, x = version.network, version.over_range()
    held = dict(network.named_parameters()) | dict(network.named_buffers())
    needed = ("output_linear.weight", "output_linear.bias", "target_scale", "target_offset")
    if len(version.manifest.features) > 1 or any(name not in held for name in needed):
        return None
    weight, bias, scale, offset = (held[name].detach() for name in needed)
    with torch.no_grad():
        layers: dict[str, Tensor] = network.activations(x)  # type: ignore[operator]
    outputs = {name: output for name, output in layers.items() if name.startswith("hidden_activation")}
    if not outputs:
        return None
    shares = list(outputs.values())[-1].unsqueeze(2) * (weight.T * scale)
    return Neurons(x, outputs, shares, offset + bias * scale)


def draw(version: pictures.Version, neurons: Neurons) -> Figure:
    """A panel for each hidden layer, and two for each target: the shares of its neurons, and their sums."""
    feature, targets = version.manifest.features[0], version.manifest.targets
    figure, panels = svg.panels(len(neurons.outputs) + 2 * len(targets))
    for axes, (name, outputs) in zip(panels, neurons.outputs.items(), strict=False):
        axes.plot(neurons.x, outputs[:, :_DRAWN_NEURONS])
        axes.set(xlabel=pictures.label(feature), ylabel=svg.text(name))
    for position, target in enumerate(targets):
        each, sums = panels[len(neurons.outputs) + 2 * position :][:2]
        _draw_shares(each, neurons, position)
        _draw_sums(sums, neurons, position)
        given, wanted = (version.columns("readings", (column,))[:, 0] for column in (feature, target))
        pictures.draw_rows(sums, version, given, wanted)
        each.set(xlabel=pictures.label(feature), ylabel=f"{pictures.label(target)}: a neuron's share")
        sums.set(xlabel=pictures.label(feature), ylabel=f"{pictures.label(target)}: shares added up")
        sums.legend(fontsize="small")
    return figure


def _draw_shares(axes: Axes, neurons: Neurons, position: int) -> None:
    for neuron in _by_size(neurons, position)[:_DRAWN_NEURONS]:
        axes.plot(neurons.x, neurons.shares[:, neuron, position], color=f"C{neuron % 10}")


def _draw_sums(axes: Axes, neurons: Neurons, position: int) -> None:
    order = _by_size(neurons, position)
    sums = neurons.start[position] + neurons.shares[:, order, position].cumsum(dim=1)
    for kept in spread_rows(len(order), _DRAWN_SUMS).tolist():
        last = kept == len(order) - 1
        shade = "black" if last else str(0.85 - 0.6 * kept / len(order))
        name = f"{kept + 1} of {len(order)} neurons"
        axes.plot(neurons.x, sums[:, kept], color=shade, lw=2 if last else 1, label=name)


def _by_size(neurons: Neurons, position: int) -> list[int]:
    """The neurons of the last layer, the one whose share varies most first."""
    shares = neurons.shares[:, :, position]
    return (shares.amax(dim=0) - shares.amin(dim=0)).argsort(descending=True, stable=True).tolist()
