"""Levenberg-Marquardt for many small networks at once, with the weight decay that the data itself asks for.

Owns the steps, the start, and when to stop; knows nothing of files or of which size is best.

A second-order method for least squares: each step solves for all parameters together (Marquardt 1963). The decay of
each block of parameters, and the noise, are estimated on the way by maximising the evidence (MacKay 1992; with the
Gauss-Newton Hessian, Foresee and Hagan 1997), so that a network with more neurons than the data needs stays as smooth
as a smaller one. That makes a fit a symmetric function of its rows, with nothing held out, as jackknife+ asks for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from training.sample import Sample
from training.stack import Stack

# Until then the networks fit freely; decay from the first step on would freeze neurons before they have found a place.
FREE_STEPS = 30
# Standardised targets begin with noise of a tenth and with hardly any decay.
_FIRST_PRECISION = 100.0
_FIRST_DECAY = 1e-3
# What a block of parameters may weigh at most and at least; without bounds, one that is not needed ends at infinity.
_DECAY_RANGE = 1e-8, 1e8
_LEAST_NOISE = 1e-12
_DAMPING_DOWN, _DAMPING_UP = 4.0, 3.0
_DAMPING_RANGE = 1e-10, 1e10
# A step that gains less than this share, so many times in a row, ends a network's fit.
_LEAST_GAIN = 1e-5
_PATIENCE = 8


@dataclass(frozen=True, slots=True)
class Fitted:
    """M networks ``[M, size]`` after a fit, each the better the larger its log `evidence` ``[M]``.

    `training` and `left_out` are mean squared errors ``[steps, M]`` after each step, as in gradient_descent.Trained.
    """

    parameters: Tensor
    evidence: Tensor
    training: Tensor
    left_out: Tensor

    @classmethod
    def joined(cls, parts: Sequence["Fitted"]) -> "Fitted":
        """The networks of all parts; one that settled before others stays as it was."""
        steps = max(len(part.training) for part in parts)

        def whole(curve: Tensor) -> Tensor:
            return torch.cat([curve, curve[-1:].expand(steps - len(curve), -1)])

        return cls(
            torch.cat([part.parameters for part in parts]),
            torch.cat([part.evidence for part in parts]),
            torch.cat([whole(part.training) for part in parts], dim=1),
            torch.cat([whole(part.left_out) for part in parts], dim=1),
        )

    def only(self, some: Tensor) -> "Fitted":
        """These members."""
        return Fitted(self.parameters[some], self.evidence[some], self.training[:, some], self.left_out[:, some])


def start(stack: Stack, features: Tensor, members: int, seed: int) -> Tensor:
    """Fresh parameters ``[members, size]`` for networks that will see these `features` ``[rows, features]``.

    Each neuron of the first layer looks in a random direction, bends at a random reading, and as sharply as a random
    share of the readings lies around it: where readings are dense, neurons can be steep. The last layer begins at 0.
    """
    random = torch.Generator().manual_seed(seed)
    parameters = torch.zeros(members, stack.size, dtype=torch.float64)
    for depth, (weight, bias) in enumerate([*stack.layers(parameters)][:-1]):
        drawn = torch.randn(weight.shape, generator=random, dtype=torch.float64)
        if depth == 0:
            steep, bend = _bends(drawn.flatten(0, 1), features, random)
            weight.copy_(steep.view_as(weight))
            bias.copy_(bend.view_as(bias))
        else:
            weight.copy_(drawn / math.sqrt(weight.shape[-1]))
            bias.copy_(torch.randn(bias.shape, generator=random, dtype=torch.float64))
    return parameters


def _bends(directions: Tensor, features: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    neurons, rows = len(directions), len(features)
    directions = directions / directions.norm(dim=1, keepdim=True)
    at = features[torch.randint(rows, (neurons,), generator=random)]
    middle = (at * directions).sum(dim=1)
    distances = (features @ directions.T - middle).abs().sort(dim=0).values
    share = torch.rand(neurons, generator=random, dtype=torch.float64) ** 2
    nth = (share * (rows - 1)).long().clamp(min=min(2, rows - 1))
    width = distances.gather(0, nth.unsqueeze(0)).squeeze(0).clamp(min=1e-6)
    return directions / width.unsqueeze(1), -middle / width


def fit(stack: Stack, first: Tensor, sample: Sample, steps: int, patience: int | None = None) -> Fitted:
    """Fit each row of `first` ``[M, size]`` to the sample, all in float64; at most so many steps.

    With `patience`, so many steps that bring nothing for the rows left out are the last ones.
    """
    state = _State(stack, first, sample)
    training, left_out = [], []
    lowest, best = math.inf, 0
    rest = sample.left_out
    for number in tqdm(range(steps), desc=f"{len(first)} networks of {stack.widths}", unit="step", leave=False):
        outputs = state.step(regularise=number >= FREE_STEPS)
        training.append(sample.losses(outputs))
        left_out.append(rest.losses(outputs))
        mean = float(left_out[-1].mean())
        if not mean >= lowest:  # also where nothing is left out
            lowest, best = mean, number
        if number > FREE_STEPS and (state.settled or number - best > (patience or steps)):
            break
    return Fitted(state.parameters, state.evidence, torch.stack(training), torch.stack(left_out))


class _State:
    """M fits under way; every tensor's first dimension is the member."""

    def __init__(self, stack: Stack, parameters: Tensor, sample: Sample) -> None:
        members, device = len(parameters), parameters.device
        self._stack = stack
        self._sample = sample
        self._features = sample.features.expand(members, -1, -1)
        self._block = stack.blocks().to(device)
        self._blocks = int(self._block.max()) + 1
        self._root = sample.weights.sqrt().unsqueeze(-1)
        self._count = sample.weights.sum(dim=1) * sample.targets.shape[-1]
        self.parameters = parameters
        self.evidence = torch.full((members,), -math.inf, dtype=torch.float64, device=device)
        self._decay = torch.full((members, self._blocks), _FIRST_DECAY, dtype=torch.float64, device=device)
        self._precision = torch.full((members,), _FIRST_PRECISION, dtype=torch.float64, device=device)
        self._damping = torch.full((members,), 1e-2, dtype=torch.float64, device=device)
        self._idle = torch.zeros(members, dtype=torch.int64, device=device)

    @property
    def settled(self) -> bool:
        """Whether no network gains anything any more."""
        return bool((self._idle >= _PATIENCE).all())

    def step(self, *, regularise: bool) -> Tensor:
        """One step of every network; its outputs afterwards."""
        outputs, jacobian = self._stack.jacobian(self.parameters, self._features)
        residuals = self._residuals(outputs)
        weighted = (jacobian * self._root.unsqueeze(-1)).flatten(1, 2)
        decay = self._decay[:, self._block]
        slope = self._precision[:, None] * (weighted.mT @ residuals.unsqueeze(-1)).squeeze(-1) + decay * self.parameters
        hessian = self._precision[:, None, None] * (weighted.mT @ weighted) + torch.diag_embed(decay)
        diagonal = hessian.diagonal(dim1=1, dim2=2)
        if regularise:
            self._estimate(hessian, diagonal, residuals)
            decay = self._decay[:, self._block]
        factor, failed = torch.linalg.cholesky_ex(hessian + torch.diag_embed(self._damping[:, None] * diagonal))
        candidate = self.parameters - torch.cholesky_solve(slope.unsqueeze(-1), factor).squeeze(-1)
        new_outputs = self._stack.outputs(candidate, self._features)
        before = self._energy(self.parameters, residuals, decay)
        after = self._energy(candidate, self._residuals(new_outputs), decay)
        better = (after < before) & (failed == 0)
        self.parameters = torch.where(better[:, None], candidate, self.parameters)
        self._damping = torch.where(better, self._damping / _DAMPING_DOWN, self._damping * _DAMPING_UP)
        self._damping.clamp_(*_DAMPING_RANGE)
        gained = better & (before - after > _LEAST_GAIN * before.abs())
        self._idle = torch.where(gained, 0, self._idle + 1)
        return torch.where(better[:, None, None], new_outputs, outputs)

    def _residuals(self, outputs: Tensor) -> Tensor:
        return ((outputs - self._sample.targets) * self._root).flatten(1)

    def _energy(self, parameters: Tensor, residuals: Tensor, decay: Tensor) -> Tensor:
        misfit = self._precision * residuals.square().sum(dim=1)
        return (misfit + (decay * parameters.square()).sum(dim=1)) / 2

    def _estimate(self, hessian: Tensor, diagonal: Tensor, residuals: Tensor) -> None:
        """The decay of each block, and the noise, that make the readings most probable; and how probable that is."""
        factor, failed = torch.linalg.cholesky_ex(hessian + torch.diag_embed(_LEAST_NOISE * diagonal))
        decay = self._decay[:, self._block]
        variance = torch.cholesky_inverse(factor).diagonal(dim1=1, dim2=2)
        determined = (1 - decay * variance).clamp(0, 1)
        volume = decay.log().sum(dim=1) / 2 - factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        evidence = volume + self._count * self._precision.log() / 2 - self._energy(self.parameters, residuals, decay)
        size = self._by_block(self.parameters.square())
        wanted = (self._by_block(determined) + 1e-3) / (size + 1e-3)
        free = (self._count - determined.sum(dim=1)).clamp(min=1e-3)
        noise = residuals.square().sum(dim=1) + _LEAST_NOISE * self._count
        fine = failed == 0
        self.evidence = torch.where(fine, evidence, self.evidence)
        self._decay = torch.where(fine[:, None], wanted.clamp(*_DECAY_RANGE), self._decay)
        self._precision = torch.where(fine, free / noise, self._precision)

    def _by_block(self, values: Tensor) -> Tensor:
        return values.new_zeros(len(values), self._blocks).index_add_(1, self._block, values)
