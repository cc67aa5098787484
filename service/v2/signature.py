"""A model as the protocol sees it: which input and output tensors it has."""

from dataclasses import dataclass

READINGS = "readings"
PREDICTIONS = "predictions"
OUT_OF_RANGE = "out_of_range"
# What is given where nothing is asked for by name.
DEFAULT_OUTPUTS = (PREDICTIONS, OUT_OF_RANGE)


@dataclass(frozen=True, slots=True)
class Signature:
    """The names of a model's features and targets, and how many rows a request may have.

    The input is `READINGS` ``[N, features]``, or else one ``[N]`` for each feature, by its name. The outputs are
    `PREDICTIONS` ``[N, targets]``, `OUT_OF_RANGE` ``[N]``, and one ``[N]`` for each target, by its name.
    """

    features: tuple[str, ...]
    targets: tuple[str, ...]
    max_rows: int

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of all outputs; a target that has one of the first two names is in the predictions only."""
        return (*DEFAULT_OUTPUTS, *(name for name in self.targets if name not in DEFAULT_OUTPUTS))
