"""The default recipe: a good fit without a number to tune.

Owns what is done in which order, from rows to a finished run. What decides is in `training.choice`; how networks are
fitted, in `training.least_squares`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from training import choice, dataset, folds, least_squares, loop, network
from training.choice import SIZES, Choice
from training.dataset import Dataset
from training.errors import DivergedError
from training.left_out import LeftOutFit
from training.levenberg_marquardt import Fitted
from training.loop import Curves
from training.network import Network, Scaling
from training.record import Run
from training.stack import Stack

# Of so many starts the best is kept; of fewer where networks times rows would be more than this.
_STARTS = 16
_STARTED_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Recipe:
    """What `fit` was told, in the words of its flags; `hidden` is None where cross-validation shall pick the size."""

    hidden: tuple[int, ...] | None = None
    activation: str = "tanh"
    validation_fraction: float = 0.0

    def run(self, data: Dataset, seed: int, device: str) -> Run:
        """Choose; fit one network to the training rows; and for the intervals, one without each fold of all rows."""
        rows = dataset.draw(data, self.validation_fraction, seed)
        features, targets = data.features[rows.training], data.targets[rows.training]
        scaling = Scaling.standardising(targets)
        shapes = self._shapes(data)
        chosen = choice.choose(features, scaling.of(targets), shapes, seed, device)
        seen = chosen.scale.of(data.features), scaling.of(data.targets)

        def fitted(some: Tensor | slice, weights: Tensor) -> Fitted:
            x, y = (values[some] for values in seen)
            starts = max(1, min(_STARTS, _STARTED_ROWS // weights.numel()))
            return least_squares.fit(
                chosen.stack, x, y, weights, steps=chosen.steps, starts=starts, seed=seed, device=device
            )

        point = fitted(rows.training, torch.ones(1, len(features), dtype=torch.float64))
        model = _network(chosen, self.activation, scaling, point.parameters[0])
        _differentiate(model, features, targets)
        _check(point.parameters, model)
        record = self._record(chosen, data, device)
        if not folds.are_kept(chosen.stack.size):
            return Run(data, rows, model, Curves(point.training[:, 0].float(), None), record, seed)
        fold = folds.assign(len(data.features), seed, size=chosen.stack.size)
        left_out = fitted(slice(None), folds.weights(fold))
        _check(left_out.parameters, model)
        bounded = LeftOutFit(chosen.stack, left_out.parameters, fold).added_to(model, *seen)
        return Run(data, rows, bounded, _curves(point, folds.mean(left_out.left_out, fold)), record, seed)

    def _shapes(self, data: Dataset) -> list[Stack]:
        ends = len(data.feature_names), len(data.target_names)
        hidden = [(size,) for size in SIZES] if self.hidden is None else [self.hidden]
        shapes = [Stack((ends[0], *widths, ends[1]), self.activation) for widths in hidden]
        # With many features, a size may be too large for the method; the smallest is always tried.
        return [shapes[0], *(shape for shape in shapes[1:] if shape.size <= least_squares.SECOND_ORDER_SIZE)]

    def _record(self, chosen: Choice, data: Dataset, device: str) -> dict[str, str | int | float | tuple[int, ...]]:
        return {
            "recipe": "automatic",
            "hidden": chosen.stack.widths[1:-1],
            "activation": self.activation,
            "logarithm": ", ".join(data.feature_names[number] for number in chosen.scale.numbers),
            "steps": chosen.steps,
            "validation_fraction": self.validation_fraction,
            "device": device,
        }


def _network(chosen: Choice, activation: str, targets: Scaling, parameters: Tensor) -> Network:
    hidden = chosen.stack.widths[1:-1]
    with torch.random.fork_rng(devices=[]):
        model = network.build(hidden, activation, chosen.scale.features, targets, chosen.scale.logarithm)
    chosen.stack.write(parameters, model)
    return model


def _differentiate(model: Network, features: Tensor, targets: Tensor) -> None:
    """Leave the gradient of the loss at each parameter."""
    loss = loop.mean_squared_error(model.target_scale)
    loss(model(features), targets).backward()  # type: ignore[no-untyped-call]


def _check(parameters: Tensor, model: Network) -> None:
    if not all(value.isfinite().all() for value in (parameters, *model.parameters())):
        raise DivergedError("the fit has no finite result: look at the readings for values that do not belong there")


def _curves(point: Fitted, validation: Tensor) -> Curves:
    """Both curves, as long as the longer of them: a fit that settled stays where it is."""
    training = point.training[:, 0]
    steps = max(len(training), len(validation))
    both = [torch.cat([curve, curve[-1:].expand(steps - len(curve))]).float() for curve in (training, validation)]
    return Curves(*both)
