"""Which columns are features and which are targets, in what unit, and which rows are for validation.

Knows nothing of files or of networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from service import artifact
from training.errors import InvalidInputError
from training.loop import Split
from training.readings import Readings


@dataclass(frozen=True, slots=True)
class Dataset:
    """Readings with their roles: `features` ``[rows, features]`` and `targets` ``[rows, targets]``, in raw units."""

    readings: Readings
    units: Mapping[str, str]
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    features: Tensor
    targets: Tensor


@dataclass(frozen=True, slots=True)
class Rows:
    """The row numbers to train on and to validate on, each ascending."""

    training: Tensor
    validation: Tensor


def choose(readings: Readings, targets: Sequence[str], units: Mapping[str, str]) -> Dataset:
    """Give columns their roles: the last one is the target unless `targets` names others; the rest are features.

    Raises InvalidInputError for a column that is not there, and when nothing is left to be a feature.
    """
    names = readings.names
    for name in (*targets, *units):
        if name not in names:
            raise InvalidInputError(
                f"{readings.file}, line 1: has no column {name!r}; its columns are {', '.join(names)}"
            )
    if len(set(targets)) < len(targets):
        raise InvalidInputError("--target names a column twice")
    target_names = tuple(targets) or names[-1:]
    feature_names = tuple(name for name in names if name not in target_names)
    if not feature_names:
        raise InvalidInputError(f"{readings.file}, line 1: has no column left to be a feature")
    _check_names(readings.file, feature_names, target_names)
    values = torch.from_numpy(readings.values)
    features, outcomes = (values[:, [names.index(name) for name in some]] for some in (feature_names, target_names))
    return Dataset(readings, units, feature_names, target_names, features, outcomes)


def _check_names(file: str, features: Sequence[str], targets: Sequence[str]) -> None:
    """Raise InvalidInputError where a service could not answer with these columns, so that no run is in vain."""
    try:
        artifact.check_columns(features, targets)
    except ValueError as error:
        raise InvalidInputError(
            f"{file}, line 1, {error}; rename the column in the file's header, or remove it"
        ) from error


def draw(dataset: Dataset, fraction: float, seed: int) -> Rows:
    """Set the given fraction of the rows aside for validation, rounded down; the seed decides which.

    Raises InvalidInputError when fewer than two rows, or only equal values of a column, are left to train on.
    """
    count = len(dataset.features)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held_out = int(fraction * count)
    rows = Rows(order[held_out:].sort().values, order[:held_out].sort().values)
    if len(rows.training) < 2:
        raise InvalidInputError(
            f"--validation-fraction {fraction} leaves 1 of {count} rows to train on, and 2 are needed"
        )
    for names, values in ((dataset.feature_names, dataset.features), (dataset.target_names, dataset.targets)):
        trained_on = values[rows.training]
        constant = (trained_on.amin(dim=0) == trained_on.amax(dim=0)).tolist()
        for name in (name for name, is_constant in zip(names, constant, strict=True) if is_constant):
            what = f"column {name!r}: is constant in the rows drawn for training"
            raise InvalidInputError(
                f"{dataset.readings.file}, {what}; try a lower --validation-fraction or another --seed"
            )
    return rows


def split(dataset: Dataset, rows: Rows, device: str) -> Split:
    """The rows for the training loop, on `device`."""
    features, targets = dataset.features.to(device), dataset.targets.to(device)
    training, validation = rows.training.to(device), rows.validation.to(device)
    return Split(features[training], targets[training], features[validation], targets[validation])
