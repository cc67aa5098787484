"""How good a published version is on readings that it has not seen.

Owns the measures and their names. Reads the version as the service would, and changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from service import artifact
from training import bounds, readings, versions
from training.errors import InvalidInputError, LimitError

_BLOCK_ROWS = 4_096

OUT_OF_RANGE = "out_of_range"
# Each is of the errors, prediction less reading, in the target's unit.
ERRORS = ("rmse", "mae", "bias", "largest")
# The share of the readings that lie within their interval, by its level in percent.
COVERAGES = {level: f"coverage_{level / 100:g}" for level in bounds.LEVELS}


Limit: TypeAlias = tuple[str, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` is asked: the flags of the command, in the same words (see docs/experiments.md)."""

    data: Path
    model: str
    version: str | None
    artifacts: Path
    fail_above: Sequence[Limit]
    fail_below: Sequence[Limit]


@dataclass(frozen=True, slots=True)
class Measured:
    """Each target's measures, and the share of the rows in which a feature lies outside what training saw."""

    targets: Mapping[str, Mapping[str, float]]
    out_of_range: float


def evaluate(asked: Evaluation) -> None:
    """Print how far off the version is on the readings.

    Raises InvalidInputError for what cannot be read, and LimitError, after printing, for what is beyond its limit.
    """
    _check_limits("--fail-above", asked.fail_above, (*ERRORS, OUT_OF_RANGE))
    directory = versions.find(asked.artifacts, asked.model, asked.version)
    version = versions.read(directory)
    manifest = version.manifest
    _check_limits("--fail-below", asked.fail_below, _coverages(manifest))
    names = [column.name for column in (*manifest.features, *manifest.targets)]
    data = readings.read_columns(asked.data, names)
    rows = torch.from_numpy(data.values)
    measured = measure(version, rows)
    print(f"{manifest.model} version {directory.name} on {len(rows)} readings of {data.file} (sha256 {data.sha256})")
    _print(manifest, measured)
    _compare(measured, asked)


def measure(version: artifact.Artifact, rows: Tensor) -> Measured:
    """The measures of `rows` ``[N, features and targets]``, in the manifest's order."""
    features, targets = version.manifest.features, version.manifest.targets
    given, wanted = rows[:, : len(features)], rows[:, len(features) :]
    minimum = torch.tensor([column.minimum for column in features])
    maximum = torch.tensor([column.maximum for column in features])
    outside = ((given < minimum) | (given > maximum)).any(dim=1)
    values = _errors(version.network, given, wanted) | _coverage(version, given, wanted)
    by_target = {target.name: {name: float(of[at]) for name, of in values.items()} for at, target in enumerate(targets)}
    return Measured(by_target, float(outside.double().mean()))


def _errors(network: nn.Module, given: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    with torch.inference_mode():
        predicted = torch.cat([network(block) for block in _blocks(given)])
    if len(unfit := (~predicted.isfinite()).nonzero()):
        raise InvalidInputError(f"reading {1 + int(unfit[0, 0])}: its prediction is not a finite number")
    errors = predicted.double() - wanted.double()
    largest = errors.gather(0, errors.abs().argmax(dim=0, keepdim=True))[0]
    means = (errors.square().mean(dim=0).sqrt(), errors.abs().mean(dim=0), errors.mean(dim=0))
    return dict(zip(ERRORS, (*means, largest), strict=True))


def _coverage(version: artifact.Artifact, given: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    found = {}
    for level, rank in bounds.ranks(version.manifest).items():
        with torch.inference_mode():
            parts = [bounds.bounds(version.network, block, rank) for block in _blocks(given)]
        lower, upper = (torch.cat(side) for side in zip(*parts, strict=True))
        found[COVERAGES[level]] = ((lower <= wanted) & (wanted <= upper)).double().mean(dim=0)
    return found


def _blocks(rows: Tensor) -> Iterator[Tensor]:
    return (rows[at : at + _BLOCK_ROWS] for at in range(0, len(rows), _BLOCK_ROWS))


def _coverages(manifest: artifact.Manifest) -> tuple[str, ...]:
    return tuple(COVERAGES[level] for level in bounds.ranks(manifest))


def _print(manifest: artifact.Manifest, measured: Measured) -> None:
    labels = [f"{column.name} ({column.unit})" if column.unit else column.name for column in manifest.targets]
    width = max(map(len, ("target", *labels)))
    print(" ".join([f"{'target':<{width}}", *(f"{name:>12}" for name in (*ERRORS, *_coverages(manifest)))]))
    for label, values in zip(labels, measured.targets.values(), strict=True):
        print(" ".join([f"{label:<{width}}", *(f"{value:>12.4g}" for value in values.values())]))
    print(f"{OUT_OF_RANGE} {measured.out_of_range:.4g}")


def _check_limits(flag: str, limits: Sequence[Limit], measures: tuple[str, ...]) -> None:
    for name, _ in limits:
        if name not in measures:
            raise InvalidInputError(f"{flag} {name}: is not measured; there is {', '.join(measures) or 'none'}")


def _compare(measured: Measured, asked: Evaluation) -> None:
    def found(name: str) -> list[tuple[str, float]]:
        if name == OUT_OF_RANGE:
            return [(name, measured.out_of_range)]
        return [(f"{name} of {target}", abs(values[name])) for target, values in measured.targets.items()]

    above = [(what, value, limit) for name, limit in asked.fail_above for what, value in found(name) if value > limit]
    below = [(what, value, limit) for name, limit in asked.fail_below for what, value in found(name) if value < limit]
    said = [f"{what} is {value:.4g}, above {limit:g}" for what, value, limit in above]
    said += [f"{what} is {value:.4g}, below {limit:g}" for what, value, limit in below]
    if said:
        raise LimitError("; ".join(said))
