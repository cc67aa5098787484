"""The textbook's recipe: plain steps down the gradient of all rows, so many of them, and a few rows to validate on.

Owns that recipe from rows to a finished run. Nothing in it decides by itself: its numbers are those it is given.
"""

import copy
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from training import dataset, folds, gradient_descent, loop, network
from training.dataset import Dataset
from training.errors import DivergedError
from training.left_out import LeftOutFit
from training.network import Scaling
from training.record import Run
from training.sample import Sample
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
        of_features, of_targets = (
            Scaling.standardising(values[rows.training]) for values in (data.features, data.targets)
        )
        start = network.fresh(seed, self.hidden, self.activation, of_features, of_targets)
        model = copy.deepcopy(start).to(device)
        optimizer = loop.OPTIMIZERS[self.optimizer](model.parameters(), lr=self.learning_rate)
        loss = loop.mean_squared_error(model.target_scale)
        curves = loop.train(model, optimizer, loss, dataset.split(data, rows, device), self.epochs)
        record = {**asdict(self), "device": device}
        stack = Stack((len(data.feature_names), *self.hidden, len(data.target_names)), self.activation)
        if not folds.are_kept(stack.size):
            return Run(data, rows, model.cpu(), curves, record, seed)
        seen = of_features.of(data.features), of_targets.of(data.targets)
        left_out = self._left_out(stack, stack.of([start]).to(device), *seen, seed)
        return Run(data, rows, left_out.added_to(model.cpu(), *seen), curves, record, seed)

    def _left_out(self, stack: Stack, start: Tensor, features: Tensor, targets: Tensor, seed: int) -> LeftOutFit:
        """The network of each fold, trained from the same `start` ``[1, size]``, on its device."""
        fold = folds.assign(len(features), seed, size=stack.size)
        scaled = folds.scaled(features, targets, folds.weights(fold))
        members = len(scaled.sample.weights)
        trained = gradient_descent.train(
            stack,
            start.expand(members, -1),
            Sample(*(values.float().to(start.device) for values in scaled.sample)),
            optimizer=self.optimizer,
            learning_rates=torch.full((members,), self.learning_rate),
            epochs=self.epochs,
        )
        parameters = scaled.restored(stack, trained.parameters.cpu().double())
        _check(parameters)
        return LeftOutFit(stack, parameters, fold)


def _check(parameters: Tensor) -> None:
    if not parameters.isfinite().all():
        raise DivergedError("a network that leaves readings out is not finite: try a lower --learning-rate")
