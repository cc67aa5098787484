"""Gradient descent for many networks at once: full batches, plain steps, each network by itself.

Owns the steps, not the shape (see `training.stack`). `training.loop` is the same for a single ``nn.Module``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from training.loop import OPTIMIZERS, threads_for
from training.sample import Sample
from training.stack import Stack

_SHOW_EVERY = 50


@dataclass(frozen=True, slots=True)
class Trained:
    """Fitted networks ``[M, size]``, and their loss before each step ``[epochs, M]``, in training and left out.

    One that diverges has values that are not finite, and the others do not suffer from it. Rows of weight 0 are those
    left out; a network without any has NaN for its loss on them.
    """

    parameters: Tensor
    training: Tensor
    left_out: Tensor


def train(  # noqa: PLR0913 - what a run is made of, each by name
    stack: Stack, start: Tensor, sample: Sample, *, optimizer: str, learning_rates: Tensor, epochs: int
) -> Trained:
    """Fit each row of `start` ``[M, size]``, with its own learning rate ``[M]``."""
    order = learning_rates.argsort(stable=True)
    rates = sorted(set(learning_rates.tolist()))
    # One tensor for each learning rate, so that torch's own optimizers do for all members.
    groups = [start[learning_rates == rate].clone().requires_grad_() for rate in rates]
    steps = OPTIMIZERS[optimizer](
        [{"params": [group], "lr": rate} for group, rate in zip(groups, rates, strict=True)], lr=rates[0]
    )
    ordered = sample.members(order)
    rest = ordered.left_out
    training, left_out = (start.new_zeros(epochs, len(start)) for _ in range(2))
    features = ordered.features.expand(len(start), -1, -1)
    progress = tqdm(range(epochs), desc=f"{len(start)} networks", unit="epoch", miniters=_SHOW_EVERY)
    with threads_for(features.shape[0] * features.shape[1]):
        for epoch in progress:
            outputs = stack.outputs(torch.cat(groups), features)
            losses = ordered.losses(outputs)
            gradients = torch.autograd.grad(losses.sum(), groups)
            for group, gradient in zip(groups, gradients, strict=True):
                group.grad = gradient
            training[epoch] = losses.detach()
            left_out[epoch] = rest.losses(outputs.detach())
            steps.step()
    back = order.argsort()
    return Trained(torch.cat(groups).detach()[back], training[:, back], left_out[:, back])
