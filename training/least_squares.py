"""Networks fitted to rows by the method that suits their size; each of many to its own share of the rows.

Owns which method that is. What a network leaves out, it does not know: neither the rows, nor a mean that they had a
part in; so that its error on them is honest.
"""

from dataclasses import replace

import torch
from torch import Tensor

from training import folds, levenberg_marquardt, minibatch
from training.levenberg_marquardt import Fitted
from training.loop import threads_for
from training.sample import Sample
from training.stack import Stack

# Beyond, the second-order steps begin on a part of the rows, and steps on small batches of all of them follow.
SECOND_ORDER_ROWS = 6_000
# A network of more parameters has too large a matrix to be solved at every step.
SECOND_ORDER_SIZE = 1_000
# Numbers that all Jacobians of one call may hold together: 256 MiB.
_JACOBIAN_NUMBERS = 2**25


def fit(  # noqa: PLR0913 - what a fit is made of, each by name
    stack: Stack,
    features: Tensor,
    targets: Tensor,
    weights: Tensor,
    *,
    steps: int,
    starts: int,
    seed: int,
    device: str,
    patience: int | None = None,
) -> Fitted:
    """Fit a network to the rows of each row of `weights` ``[members, rows]``: 1 for those that it sees, else 0.

    The rows ``[rows, columns]`` are standardised, float64. Each member is the best of so many starts, by its evidence.
    With `patience`, second-order steps end after so many that bring nothing for the rows left out.
    """
    members = folds.scaled(features, targets, weights)
    sample = Sample(*(values.to(device) for values in members.sample))
    if len(features) <= SECOND_ORDER_ROWS and stack.size <= SECOND_ORDER_SIZE:
        fitted = _second_order(stack, sample, steps, starts, seed, patience)
    else:
        fitted = minibatch.fit(stack, _first(stack, sample, steps, seed), sample, seed)
    # Losses are of the targets as given, so that those of different members can be compared.
    unit = members.targets[1].square().mean(dim=1)
    return replace(
        fitted,
        parameters=members.restored(stack, fitted.parameters.cpu().double()),
        training=fitted.training.cpu() * unit,
        left_out=fitted.left_out.cpu() * unit,
    )


def _first(stack: Stack, sample: Sample, steps: int, seed: int) -> Tensor:
    """Where small batches begin: at a fit to some of the rows, or with fresh parameters where that is too much."""
    order = torch.randperm(sample.weights.shape[1], generator=torch.Generator().manual_seed(seed))
    part = sample.rows(order[:SECOND_ORDER_ROWS].sort().values)
    if stack.size <= SECOND_ORDER_SIZE:
        return _second_order(stack, part, steps, 1, seed).parameters
    return _starts(stack, part, 1, seed)


def _second_order(  # noqa: PLR0913, PLR0917 - as above
    stack: Stack, sample: Sample, steps: int, starts: int, seed: int, patience: int | None = None
) -> Fitted:
    members, rows = sample.weights.shape
    first = _starts(stack, sample, starts, seed)
    of = torch.arange(members, device=first.device).repeat_interleave(starts)
    at_once = max(1, _JACOBIAN_NUMBERS // (rows * sample.targets.shape[-1] * stack.size))
    with threads_for(0):  # its many small steps would wait for a second thread longer than it works
        parts = [
            levenberg_marquardt.fit(stack, first[some], sample.members(of[some]), steps, patience)
            for some in torch.arange(len(first), device=first.device).split(at_once)  # type: ignore[no-untyped-call]
        ]
    joined = Fitted.joined(parts)
    best = joined.evidence.view(members, starts).argmax(dim=1)
    return joined.only(best + starts * torch.arange(members, device=best.device))


def _starts(stack: Stack, sample: Sample, starts: int, seed: int) -> Tensor:
    """So many for each member, that depend on nothing but the rows it sees ``[members * starts, size]``."""
    each = [
        levenberg_marquardt.start(stack, features[weights > 0].cpu(), starts, seed)
        for features, weights in zip(sample.features, sample.weights, strict=True)
    ]
    return torch.cat(each).to(sample.weights.device)
