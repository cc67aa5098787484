"""Rows left out in turn: which fold each row is in, and the sample that its network sees.

Owns what a member must not know: neither the rows it leaves out, nor a mean or a spread that they had a part in.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.sample import Sample
from training.stack import Stack

# Up to so many readings each is left out by itself; beyond, a tenth of them at a time.
EACH_BY_ITSELF = 300
FOLDS = 10
# What all left-out networks may hold together, as they are a part of the file: 16 MiB.
_PARAMETERS = 2**22


def assign(rows: int, seed: int, each_by_itself: int = EACH_BY_ITSELF, size: int = 1) -> Tensor:
    """The fold that each row is in ``[rows]``: one of its own up to so many rows, else one of ten by the seed.

    Also one of ten where networks of so many parameters would be too many to keep.
    """
    if rows <= each_by_itself and rows * size <= _PARAMETERS:
        return torch.arange(rows)
    numbers = torch.arange(rows) % FOLDS
    return numbers[torch.randperm(rows, generator=torch.Generator().manual_seed(seed))]


def are_kept(size: int) -> bool:
    """Whether networks of so many parameters are small enough that those of ten folds go into the file."""
    return FOLDS * size <= _PARAMETERS


def weights(fold: Tensor) -> Tensor:
    """1 for the rows that the network of each fold sees, else 0: ``[folds, rows]``."""
    return (torch.arange(int(fold.max()) + 1).unsqueeze(1) != fold).double()


def mean(losses: Tensor, fold: Tensor) -> Tensor:
    """The mean over all rows of what each fold's network lost on its own ``[..., folds]``."""
    rows = fold.bincount().double()
    return losses @ (rows / rows.sum())


@dataclass(frozen=True, slots=True)
class Scaled:
    """A sample with each member's rows at mean 0 and standard deviation 1, and what was done to make it so."""

    sample: Sample
    features: tuple[Tensor, Tensor]
    targets: tuple[Tensor, Tensor]

    def restored(self, stack: Stack, parameters: Tensor) -> Tensor:
        """Parameters ``[members, size]`` that were fitted to the sample, for values without that scaling."""
        layers = [*stack.layers(parameters.clone())]
        offset, scale = self.features
        weight, bias = layers[0]
        weight /= scale.unsqueeze(1)
        bias -= (weight @ offset.unsqueeze(2)).squeeze(2)
        offset, scale = self.targets
        weight, bias = layers[-1]
        weight *= scale.unsqueeze(2)
        bias.mul_(scale).add_(offset)
        return stack.flatten(layers)


def scaled(features: Tensor, targets: Tensor, weights: Tensor) -> Scaled:
    """The rows ``[rows, columns]`` for members that each see those of weight 1 in ``[members, rows]``."""
    new_features, of_features = _standardised(features, weights)
    new_targets, of_targets = _standardised(targets, weights)
    return Scaled(Sample(new_features, new_targets, weights), of_features, of_targets)


def _standardised(values: Tensor, weights: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    count = weights.sum(dim=1, keepdim=True)
    mean = weights @ values / count
    centred = values - mean.unsqueeze(1)
    deviation = ((weights.unsqueeze(2) * centred.square()).sum(dim=1) / count).sqrt()
    # A column that a member sees no change in stays as it is.
    scale = torch.where(deviation > 0, deviation, 1)
    return centred / scale.unsqueeze(1), (mean, scale)
