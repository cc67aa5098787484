"""The training loop: full batches, two loss curves, and a clear stop when the loss is no longer finite.

Knows nothing of what it trains, nor where the readings came from.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn
from tqdm import tqdm

from training.errors import DivergedError

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]

OPTIMIZERS: Final[Mapping[str, Callable[..., torch.optim.Optimizer]]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}

_SAY_EVERY = 1000
# Reading a loss waits for the device, so the curves stay there and are looked at in steps.
_CHECK_EVERY = 100
# Below this, handing work to a second thread costs more than it saves.
_SMALL_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Split:
    """Features ``[rows, features]`` and targets ``[rows, targets]`` to train and to validate on, in raw units."""

    features: Tensor
    targets: Tensor
    validation_features: Tensor
    validation_targets: Tensor


@dataclass(frozen=True, slots=True)
class Curves:
    """The losses of each epoch or step (see docs/training.md).

    `validation` is ``None`` when there is nothing to validate on.
    """

    training: Tensor
    validation: Tensor | None


def mean_squared_error(unit: Tensor) -> Loss:
    """The mean squared error of targets measured in `unit` ``[targets]``."""

    def loss(predictions: Tensor, targets: Tensor) -> Tensor:
        return ((predictions - targets) / unit).square().mean()

    return loss


def train(network: nn.Module, optimizer: torch.optim.Optimizer, loss_of: Loss, split: Split, epochs: int) -> Curves:
    """Train `network` in place; afterwards each parameter still has the gradient of the last epoch.

    Raises DivergedError as soon as it is seen that a loss is not finite.
    """
    training = split.targets.new_zeros(epochs)
    validation = split.targets.new_zeros(epochs) if len(split.validation_targets) else None
    curves = Curves(training, validation)
    with threads_for(len(split.targets)), tqdm(total=epochs, desc="training", unit="epoch") as progress:
        for epoch in range(epochs):
            optimizer.zero_grad()
            loss = loss_of(network(split.features), split.targets)
            loss.backward()  # type: ignore[no-untyped-call]
            training[epoch] = loss.detach()
            if validation is not None:
                with torch.no_grad():
                    validation[epoch] = loss_of(network(split.validation_features), split.validation_targets)
            optimizer.step()
            progress.update()
            _look(curves, epoch, last=epoch == epochs - 1)
    _check_result(network, split, epochs)
    return Curves(training.cpu(), None if validation is None else validation.cpu())


def _look(curves: Curves, epoch: int, *, last: bool) -> None:
    number = epoch + 1
    said = number == 1 or number % _SAY_EVERY == 0
    if said or last or number % _CHECK_EVERY == 0:
        _check_losses(curves, number)
    if said:
        validation = "" if curves.validation is None else f", validation loss {curves.validation[epoch]:.5g}"
        tqdm.write(f"epoch {number}: training loss {curves.training[epoch]:.5g}{validation}")


def _check_losses(curves: Curves, number: int) -> None:
    for name, curve in (("training", curves.training), ("validation", curves.validation)):
        if curve is not None and not (finite := curve[:number].isfinite()).all():
            first = int((~finite).nonzero()[0]) + 1
            raise DivergedError(f"the {name} loss is not finite at epoch {first}: try a lower --learning-rate")


def _check_result(network: nn.Module, split: Split, epochs: int) -> None:
    # The last step comes after the last look at the losses.
    with torch.no_grad():
        outputs = [network(split.features), network(split.validation_features)]
    if not all(value.isfinite().all() for value in (*outputs, *network.parameters())):
        raise DivergedError(f"the network is not finite after epoch {epochs}: try a lower --learning-rate")


@contextmanager
def threads_for(rows: int) -> Iterator[None]:
    """One thread for work on so few rows, those that torch has for more."""
    before = torch.get_num_threads()
    if rows < _SMALL_ROWS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
