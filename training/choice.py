"""What cross-validation decides for the default recipe: how many neurons, on which scale, and how many steps.

Owns what is compared. A simpler choice stays unless another one is clearly better.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from training import folds, least_squares
from training.levenberg_marquardt import FREE_STEPS
from training.network import Logarithm, LogarithmOfSome, Scaling
from training.stack import Stack

SIZES: Final = (1, 2, 4, 8, 16, 32)
STEPS: Final = 150
_STARTS = 2
# Sizes larger than the best one so far that are tried before larger ones are given up.
_PATIENCE = 2
# Steps without gain for the rows left out that end a trial; a loss at which there is nothing left to gain.
_STEP_PATIENCE = 40
_EXACT = 1e-9
# Another size, or an earlier stop, must lower the loss by this share; another scale by far more, as it changes what is
# said beyond the readings.
_BETTER, _FAR_BETTER = 0.99, 0.8
# So many steps after decay has set in, it has found its place.
_SETTLING_STEPS = 20
# A positive feature that spans so much may be better on a logarithmic scale.
_DECADE = 10.0
# Sizes and scales are compared on no more rows than this.
_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Scale:
    """How the layers see the features: a scaling, and behind it a logarithm of those with these numbers."""

    features: Scaling
    logarithm: Logarithm | None = None
    numbers: tuple[int, ...] = ()

    def of(self, values: Tensor) -> Tensor:
        """Raw features ``[rows, features]`` as the layers see them, in float64."""
        seen = self.features.of(values)
        with torch.no_grad():
            return self.logarithm(seen) if self.logarithm else seen


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen: a shape, a scale, and a number of steps; `loss` is that of rows left out."""

    stack: Stack
    scale: Scale
    steps: int = STEPS
    loss: float = 0.0


def choose(features: Tensor, targets: Tensor, stacks: Sequence[Stack], seed: int, device: str) -> Choice:
    """The best of these shapes, the smaller first, for raw features and standardised targets ``[rows, columns]``."""
    scales = list(_scales(features))
    if stacks[0].size > least_squares.SECOND_ORDER_SIZE:
        return Choice(stacks[0], scales[0])
    some = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))[:_ROWS].sort().values
    fold = folds.assign(len(some), seed, each_by_itself=folds.FOLDS)
    best: Choice | None = None
    for scale in scales:
        seen = scale.of(features[some])
        candidate = _best_size(scale, stacks, seen, targets[some], fold, seed, device)
        if best is None or candidate.loss < _FAR_BETTER * best.loss:
            best = candidate
    assert best is not None  # noqa: S101 - the plain scale is always there
    return best


def _best_size(  # noqa: PLR0913, PLR0917 - what is compared, on what
    scale: Scale, stacks: Sequence[Stack], features: Tensor, targets: Tensor, fold: Tensor, seed: int, device: str
) -> Choice:
    best: Choice | None = None
    worse = 0
    for stack in stacks:
        fitted = least_squares.fit(
            stack,
            features,
            targets,
            folds.weights(fold),
            steps=STEPS,
            starts=_STARTS,
            seed=seed,
            device=device,
            patience=_STEP_PATIENCE,
        )
        candidate = _stopped(stack, scale, folds.mean(fitted.left_out, fold))
        if best is None or candidate.loss < _BETTER * best.loss:
            best, worse = candidate, 0
        elif (worse := worse + 1) >= _PATIENCE:
            break
        if best.loss < _EXACT:
            break
    assert best is not None  # noqa: S101 - there is a shape to compare
    return best


def _stopped(stack: Stack, scale: Scale, losses: Tensor) -> Choice:
    """The choice with as many steps as there are, unless an earlier one left a loss that is clearly lower.

    None is so early that decay has not set in: there is no evidence yet to tell starts apart by.
    """
    free = min(FREE_STEPS + _SETTLING_STEPS, len(losses) - 1)
    steps = free + int(losses[free:].argmin()) + 1
    if not losses[steps - 1] < _BETTER * losses[-1]:
        return Choice(stack, scale, STEPS, float(losses[-1]))
    return Choice(stack, scale, steps, float(losses[steps - 1]))


def _scales(features: Tensor) -> Iterator[Scale]:
    standard = Scaling.standardising(features)
    yield Scale(standard)
    smallest = features.amin(dim=0)
    wide = (smallest > 0) & (features.amax(dim=0) > _DECADE * smallest)
    if wide.any():
        units = Scaling(torch.where(wide, 0, standard.offset), torch.where(wide, smallest, standard.scale))
        after = Scaling.standardising(torch.asinh(features / torch.where(wide, smallest, 1)))
        numbers = tuple(wide.nonzero().flatten().tolist())
        yield Scale(units, Logarithm(after) if wide.all() else LogarithmOfSome(after, wide), numbers)
