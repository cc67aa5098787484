"""Networks with intervals, the left-out ones fitted one after another by the plain loop; and the paper's bounds."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training import dataset, loop, network, publish, readings, record
from training.fit import THERMOMETER, THERMOMETER_UNITS
from training.intervals import with_intervals
from training.network import Network, Scaling

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LeftOutFits:
    """A run whose network has intervals, the networks that it was made of, and which left out which reading."""

    run: record.Run
    others: Sequence[Network]
    folds: torch.Tensor
    residuals: Array

    def bounds(self, rows: Array, rank: int) -> tuple[Array, Array]:
        """Lower and upper ``[N, targets]`` as the paper defines them, (1.7) and (4.3), in plain NumPy."""
        x = torch.tensor(rows, dtype=torch.float32)
        with torch.no_grad():
            without = np.stack([other(x).double().numpy() for other in self.others])[self.folds.numpy()]
        below, above = without - self.residuals[:, None], without + self.residuals[:, None]
        return np.sort(below, axis=0)[rank - 1], np.sort(above, axis=0)[len(above) - rank]


def fit(  # noqa: PLR0917 - in the order of what is asked for
    data: Path = THERMOMETER,
    targets: Sequence[str] = (),
    hidden: Sequence[int] = (8,),
    activation: str = "tanh",
    folds: int | None = None,
    epochs: int = 30,
) -> LeftOutFits:
    """Fit them for a moment: a network without each reading, or without each of so many folds."""
    table = dataset.choose(readings.read(data), targets, THERMOMETER_UNITS if data == THERMOMETER else {})
    rows = dataset.draw(table, 0.0, 0)
    count = len(rows.training)
    fold = torch.arange(count) % (folds or count)
    scalings = Scaling.standardising(table.features), Scaling.standardising(table.targets)

    def fitted(kept: torch.Tensor) -> tuple[Network, loop.Curves]:
        torch.manual_seed(1)
        made = network.build(hidden, activation, *scalings)
        optimizer = torch.optim.Adam(made.parameters(), lr=0.05)
        part = dataset.Rows(kept, rows.validation)
        curves = loop.train(
            made, optimizer, loop.mean_squared_error(made.target_scale), dataset.split(table, part, "cpu"), epochs
        )
        return made, curves

    point, curves = fitted(rows.training)
    others = [fitted(torch.nonzero(fold != left_out)[:, 0])[0] for left_out in range(folds or count)]
    with torch.no_grad():
        own = torch.stack([others[fold[row]](table.features[row : row + 1])[0] for row in range(count)])
        residuals = (table.targets.double() - own.double()).abs()
        whole = with_intervals(point, stacked(others), residuals, fold)
    recipe: record.Recipe = {"hidden": tuple(hidden), "activation": activation}
    return LeftOutFits(record.Run(table, rows, whole, curves, recipe, 1), others, fold, residuals.numpy())


def stacked(others: Sequence[Network]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Their linear layers, one upon the other."""
    linear = [[layer for layer in other.children() if isinstance(layer, torch.nn.Linear)] for other in others]
    return [
        (torch.stack([one.weight.detach() for one in same]), torch.stack([one.bias.detach() for one in same]))
        for same in zip(*linear, strict=True)
    ]


def published(artifacts: Path, fits: LeftOutFits, model: str = "thermometer") -> Path:
    """One more version of the model."""
    return publish.publish(artifacts, model, record.files(fits.run, model))


def without_intervals(run: record.Run) -> record.Run:
    """The run with its network as it was before there were intervals."""
    whole = run.network
    layers = OrderedDict((name, layer) for name, layer in whole.named_children() if name != "left_out")
    features = Scaling(whole.feature_offset, whole.feature_scale)
    return replace(run, network=Network(layers, features, Scaling(whole.target_offset, whole.target_scale)))
