"""The textbook's recipe: plain steps down the gradient of all rows, so many of them, and a few rows to validate on.

Owns that recipe from rows to a finished run. Nothing in it decides by itself: its numbers are those it is given.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from training import dataset, folds, gradient_descent, loop, network
from training.dataset import Dataset
from training.errors import DivergedError
from training.gradient_descent import Sample
from training.left_out import LeftOutFit
from training.network import Network, Scaling
from training.record import Run
from training.stack import Stack


@dataclass(frozen=True, slots=True)
class Recipe:
    """What `fit` was told, in the words of its flags."""

    hidden: tuple[int, ...] = (8,)
    activation: str = "tanh"
    optimizer: str = "sgd"
    learning_rate: float = 1e-3
    epochs: int = 5000
    validation_fraction: float = 0.2

    def run(self, data: Dataset, seed: int, device: str) -> Run:
        """Train one network on the training rows; and for the intervals, one without each fold of all rows."""
        rows = dataset.draw(data, self.validation_fraction, seed)
        scalings = [Scaling.standardising(values[rows.training]) for values in (data.features, data.targets)]
        model = self._fresh(seed, *scalings).to(device)
        optimizer = loop.OPTIMIZERS[self.optimizer](model.parameters(), lr=self.learning_rate)
        loss = loop.mean_squared_error(model.target_scale)
        curves = loop.train(model, optimizer, loss, dataset.split(data, rows, device), self.epochs)
        record = {**asdict(self), "device": device}
        return Run(data, rows, self._with_intervals(model.cpu(), data, seed, device), curves, record, seed)

    def _fresh(self, seed: int, features: Scaling, targets: Scaling) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return network.build(self.hidden, self.activation, features, targets)

    def _with_intervals(self, model: Network, data: Dataset, seed: int, device: str) -> Network:
        scalings = [
            Scaling(model.feature_offset, model.feature_scale),
            Scaling(model.target_offset, model.target_scale),
        ]
        features, targets = (
            scaling.of(values) for scaling, values in zip(scalings, (data.features, data.targets), strict=True)
        )
        stack = Stack((features.shape[1], *self.hidden, targets.shape[1]), self.activation)
        if not folds.are_kept(stack.size):
            return model
        fold = folds.assign(len(features), seed, size=stack.size)
        scaled = folds.scaled(features, targets, folds.weights(fold))
        start = stack.of([self._fresh(seed, *scalings)]).expand(len(scaled.sample.weights), -1)
        trained = gradient_descent.train(
            stack,
            start.to(device),
            Sample(*(values.float().to(device) for values in scaled.sample)),
            optimizer=self.optimizer,
            learning_rates=torch.full((len(start),), self.learning_rate),
            epochs=self.epochs,
        )
        parameters = scaled.restored(stack, trained.parameters.cpu().double())
        _check(parameters)
        return LeftOutFit(stack, parameters, fold).added_to(model, features, targets)


def _check(parameters: Tensor) -> None:
    if not parameters.isfinite().all():
        raise DivergedError("a network that leaves readings out is not finite: try a lower --learning-rate")
