"""Networks of many sizes, learning rates and seeds by the textbook's recipe, those of a size at once.

Each is what `fit` makes of the same flags. Owns what is measured of each; `training.sweep` sums it up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from training import dataset, gradient_descent, network, readings
from training.errors import InvalidInputError
from training.sample import Sample
from training.stack import Stack

# So many values of a layer at once, of all networks, stay well within memory.
_CHUNK_VALUES = 2**25


@dataclass(frozen=True, slots=True)
class Grid:
    """What is fitted: the flags of `sweep`, in the same words (see docs/experiments.md)."""

    data: Path
    targets: tuple[str, ...]
    hidden: Sequence[int]
    learning_rate: Sequence[float]
    seeds: int
    activation: str
    optimizer: str
    epochs: int
    validation_fraction: float


@dataclass(frozen=True, slots=True)
class Member:
    """One network of a grid; each loss is None where it diverged. `linearity` is of its outputs at the readings.

    It is the share of their variance that is a linear function of the features: 1 is a line, or a plane.
    """

    hidden: int
    learning_rate: float
    seed: int
    training_loss: float | None
    validation_loss: float | None
    best_validation_loss: float | None
    best_epoch: int | None
    linearity: float | None

    @property
    def overfit(self) -> float | None:
        """The last validation loss by the best one: 1 where training on has done no harm."""
        if self.validation_loss is None or not self.best_validation_loss:
            return None
        return self.validation_loss / self.best_validation_loss


def run(asked: Grid) -> Iterator[list[Member]]:
    """The networks of each size, in the order of the sizes; raises InvalidInputError for readings that will not do."""
    data = dataset.choose(readings.read(asked.data), asked.targets, {})
    parts = [_Part.of(data, asked.validation_fraction, seed) for seed in range(asked.seeds)]
    for hidden in asked.hidden:
        pairs = list(product(asked.learning_rate, range(asked.seeds)))
        widest = len(data.features) * max(hidden, len(data.feature_names), len(data.target_names))
        step = max(1, _CHUNK_VALUES // widest)
        yield [
            member
            for at in range(0, len(pairs), step)
            for member in _train(asked, hidden, pairs[at : at + step], parts)
        ]


@dataclass(frozen=True, slots=True)
class _Part:
    """The readings as a seed divides them, and scaled by its training rows; `weights` ``[rows]`` are 1 on those."""

    features: Tensor
    targets: Tensor
    weights: Tensor
    scalings: tuple[network.Scaling, network.Scaling]

    @classmethod
    def of(cls, data: dataset.Dataset, fraction: float, seed: int) -> "_Part":
        rows = dataset.draw(data, fraction, seed)
        if not len(rows.validation):
            raise InvalidInputError(f"--validation-fraction {fraction} of {len(data.features)} rows leaves none aside")
        weights = torch.zeros(len(data.features))
        weights[rows.training] = 1
        of = [network.Scaling.standardising(values[rows.training]) for values in (data.features, data.targets)]
        features, targets = ((v - s.offset) / s.scale for v, s in zip((data.features, data.targets), of, strict=True))
        return cls(features, targets, weights, (of[0], of[1]))

    def start(self, hidden: int, activation: str, seed: int) -> network.Network:
        """The network as `fit` begins with it."""
        return network.fresh(seed, (hidden,) if hidden else (), activation, *self.scalings)


def _train(asked: Grid, hidden: int, pairs: Sequence[tuple[float, int]], parts: Sequence[_Part]) -> Iterator[Member]:
    own = [parts[seed] for _, seed in pairs]
    features, targets = torch.stack([part.features for part in own]), torch.stack([part.targets for part in own])
    shape = [features.shape[-1], *([hidden] if hidden else []), targets.shape[-1]]
    stack = Stack(tuple(shape), asked.activation)
    trained = gradient_descent.train(
        stack,
        stack.of(part.start(hidden, asked.activation, seed) for part, (_, seed) in zip(own, pairs, strict=True)),
        Sample(features, targets, torch.stack([part.weights for part in own])),
        optimizer=asked.optimizer,
        learning_rates=torch.tensor([rate for rate, _ in pairs], dtype=torch.float64),
        epochs=asked.epochs,
    )
    linear = linearity(features[0], stack.outputs(trained.parameters, features))
    for at, (rate, seed) in enumerate(pairs):
        yield _member(trained, linear, at, Member(hidden, rate, seed, None, None, None, None, None))


def _member(trained: gradient_descent.Trained, linear: Tensor, at: int, empty: Member) -> Member:
    training, validation = trained.training[:, at], trained.left_out[:, at]
    finite = all(bool(values.isfinite().all()) for values in (training, validation, trained.parameters[at]))
    if not finite:
        return empty
    best = int(validation.argmin())
    return Member(
        *(empty.hidden, empty.learning_rate, empty.seed),
        training_loss=float(training[-1]),
        validation_loss=float(validation[-1]),
        best_validation_loss=float(validation[best]),
        best_epoch=best + 1,
        linearity=float(linear[at]),
    )


def linearity(features: Tensor, outputs: Tensor) -> Tensor:
    """For each of M networks, what share ``[M]`` of the variance of its outputs is linear in the features.

    `features` are ``[rows, features]``, `outputs` ``[M, rows, targets]``. Outputs that are all the same are linear.
    """
    design = torch.cat([features, torch.ones(len(features), 1)], dim=1).double()
    columns = outputs.double().nan_to_num(0, 0, 0).transpose(0, 1).flatten(1)
    # gelsd also does for features that are linear functions of each other.
    fitted = design @ torch.linalg.lstsq(design, columns, driver="gelsd").solution
    rest = (columns - fitted).square().sum(dim=0).view(len(outputs), -1).sum(dim=1)
    whole = (columns - columns.mean(dim=0)).square().sum(dim=0).view(len(outputs), -1).sum(dim=1)
    return torch.where(whole > 0, 1 - rest / whole, 1.0)
