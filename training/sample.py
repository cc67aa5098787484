"""What many networks are fitted to at once: rows, and how much each of them counts for each network."""

from typing import NamedTuple

from torch import Tensor


class Sample(NamedTuple):
    """For M networks: `features` ``[M, rows, features]`` and `targets` ``[M, rows, targets]``, both scaled.

    `weights` ``[M, rows]`` say how much a row counts for a network: 0 leaves it out. M may be 1 in the first two.
    """

    features: Tensor
    targets: Tensor
    weights: Tensor

    @property
    def left_out(self) -> "Sample":
        """The rows that each network leaves out."""
        return Sample(self.features, self.targets, 1 - self.weights)

    def members(self, some: Tensor) -> "Sample":
        """What these networks see; one may be there several times."""
        features, targets = (values if len(values) == 1 else values[some] for values in self[:2])
        return Sample(features, targets, self.weights[some])

    def rows(self, some: Tensor) -> "Sample":
        """These rows alone, for all networks."""
        return Sample(*(values[:, some.to(values.device)] for values in self))

    def losses(self, outputs: Tensor) -> Tensor:
        """Each network's mean squared error ``[M]`` over its rows and the targets; NaN where it has no row."""
        squares = (outputs - self.targets).square().mean(dim=-1)
        return (squares * self.weights).sum(dim=1) / self.weights.sum(dim=1)
