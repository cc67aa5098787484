"""A model as the protocol sees it: which input and output tensors it has."""

from dataclasses import dataclass

READINGS = "readings"
PREDICTIONS = "predictions"
OUT_OF_RANGE = "out_of_range"
# What is given where nothing is asked for by name.
DEFAULT_OUTPUTS = (PREDICTIONS, OUT_OF_RANGE)
LOWER = "lower"
UPPER = "upper"
# What there is besides where an interval is asked for.
BOUNDS = (LOWER, UPPER)


@dataclass(frozen=True, slots=True)
class Signature:
    """The names of a model's features and targets, and how many rows a request may have.

    The input is `READINGS` ``[N, features]``, or else one ``[N]`` for each feature, by its name. The outputs are
    `PREDICTIONS` ``[N, targets]``, `OUT_OF_RANGE` ``[N]``, with intervals `LOWER` and `UPPER` ``[N, targets]``, and one
    ``[N]`` for each target, by its name.
    """

    features: tuple[str, ...]
    targets: tuple[str, ...]
    max_rows: int
    has_intervals: bool = False

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of all outputs; a target that has the name of another is in the predictions only."""
        own = (*DEFAULT_OUTPUTS, *BOUNDS) if self.has_intervals else DEFAULT_OUTPUTS
        return (*own, *(name for name in self.targets if name not in own))
