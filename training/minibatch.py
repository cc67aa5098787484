"""Adam on small batches, for many networks at once, where rows or parameters are too many for second-order steps.

Owns the batches, the falling learning rate, and the stop by validation; see `training.sample` for what is fitted to.
Kingma and Ba 2015; the rate falls along half a cosine, after Loshchilov and Hutter 2017.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from tqdm import tqdm

from training.levenberg_marquardt import Fitted
from training.loop import threads_for
from training.sample import Sample
from training.stack import Stack

_BATCH = 1_024
_STEPS = 3_000
_RATE = 3e-3
# What the losses are measured on, and how often.
_MEASURED_ROWS = 10_000
_MEASURED_EVERY = 100
# Measurements without a better one before the fit ends.
_PATIENCE = 10


def fit(stack: Stack, first: Tensor, sample: Sample, seed: int) -> Fitted:
    """Fit each row of `first` ``[M, size]`` to the sample, from there on; what is kept is best on the rows left out.

    A network that leaves nothing out stops at the loss on its own rows. Curves have a value for each measurement.
    """
    sample = Sample(*(values.float() for values in sample))
    rows = sample.weights.shape[1]
    random = torch.Generator().manual_seed(seed)
    shown = sample.rows(torch.randperm(rows, generator=random)[:_MEASURED_ROWS])
    rest = shown.left_out
    parameters = first.float().clone().requires_grad_()
    adam = torch.optim.Adam([parameters], lr=_RATE)
    batches = _batches(rows, random)
    best, kept, idle = math.inf, parameters.detach().clone(), 0
    training, left_out = [], []
    with threads_for(len(first) * min(rows, _BATCH)):
        for step in tqdm(range(_STEPS + 1), desc=f"{len(first)} networks of {stack.widths}", unit="step", leave=False):
            if step % _MEASURED_EVERY == 0:
                with torch.no_grad():
                    outputs = stack.outputs(parameters, shown.features)
                training.append(shown.losses(outputs).double())
                left_out.append(rest.losses(outputs).double())
                loss = float(torch.where(left_out[-1].isfinite(), left_out[-1], training[-1]).mean())
                best, kept, idle = (loss, parameters.detach().clone(), 0) if loss < best else (best, kept, idle + 1)
                if idle >= _PATIENCE:
                    break
            adam.param_groups[0]["lr"] = _RATE * (1 + math.cos(math.pi * step / _STEPS)) / 2
            batch = sample.rows(next(batches))
            squares = (stack.outputs(parameters, batch.features) - batch.targets).square().mean(dim=2)
            parameters.grad = torch.autograd.grad((squares * batch.weights).mean(dim=1).sum(), parameters)[0]
            adam.step()
    end = len(training) - idle
    return Fitted(kept, -torch.stack(training)[end - 1], torch.stack(training)[:end], torch.stack(left_out)[:end])


def _batches(rows: int, random: torch.Generator) -> Iterator[Tensor]:
    while True:
        yield from torch.randperm(rows, generator=random).split(_BATCH)  # type: ignore[no-untyped-call]
