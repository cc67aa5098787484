"""From fitted left-out networks to a network with intervals: the residuals, and which of them are kept."""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.intervals import NetworkWithIntervals, with_intervals
from training.network import Network
from training.stack import Stack

# More would make an answer slower, and its bounds no better: their coverage is known to a percent with so many.
RESIDUALS = 1000


@dataclass(frozen=True, slots=True)
class LeftOutFit:
    """Networks ``[folds, size]``, each fitted without its fold of the rows; `fold` ``[rows]`` says which that is.

    They take features and give targets as the layers of the point network see them.
    """

    stack: Stack
    parameters: Tensor
    fold: Tensor

    def added_to(self, network: Network, features: Tensor, targets: Tensor) -> NetworkWithIntervals:
        """The network with intervals by the residuals of these rows, as its layers see them.

        Of many rows the same number is kept of every fold.
        """
        kept = self._kept()
        with torch.no_grad():
            predictions = self._predictions(features)[kept]
        residuals = (targets[kept] - predictions).abs() * network.target_scale.double()
        return with_intervals(network, [*self.stack.layers(self.parameters)], residuals, self.fold[kept])

    def _kept(self) -> Tensor:
        rows = torch.arange(len(self.fold))
        if len(rows) <= RESIDUALS:
            return rows
        of_each = RESIDUALS // len(self.parameters)
        return torch.cat([rows[self.fold == number][:of_each] for number in range(len(self.parameters))])

    def _predictions(self, features: Tensor) -> Tensor:
        """What each row's own network says of it ``[rows, targets]``."""
        found = features.new_empty(len(features), self.stack.widths[-1])
        for number, network in enumerate(self.parameters.split(1)):  # type: ignore[no-untyped-call]
            own = self.fold == number
            found[own] = self.stack.outputs(network, features[own].unsqueeze(0)).squeeze(0)
        return found
