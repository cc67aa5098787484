"""How good a published version is on readings that it has not seen.

Owns the measures and their names. Reads the version as the service would, and changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from service import artifact
from training import readings, versions
from training.errors import InvalidInputError, LimitError

_BLOCK_ROWS = 65_536

OUT_OF_RANGE = "out_of_range"
# Each is of the errors, prediction less reading, in the target's unit.
MEASURES = ("rmse", "mae", "bias", "largest")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` is asked: the flags of the command, in the same words (see docs/experiments.md)."""

    data: Path
    model: str
    version: str | None
    artifacts: Path
    fail_above: Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Measured:
    """Each target's measures, and the share of the rows in which a feature lies outside what training saw."""

    targets: Mapping[str, Mapping[str, float]]
    out_of_range: float


def evaluate(asked: Evaluation) -> None:
    """Print how far off the version is on the readings.

    Raises InvalidInputError for what cannot be read, and LimitError, after printing, for what is above its limit.
    """
    _check_limits(asked.fail_above)
    directory = versions.find(asked.artifacts, asked.model, asked.version)
    version = versions.read(directory)
    manifest = version.manifest
    names = [column.name for column in (*manifest.features, *manifest.targets)]
    data = readings.read_columns(asked.data, names)
    rows = torch.from_numpy(data.values)
    measured = measure(version, rows)
    print(f"{manifest.model} version {directory.name} on {len(rows)} readings of {data.file} (sha256 {data.sha256})")
    _print(manifest, measured)
    _compare(measured, asked.fail_above)


def measure(version: artifact.Artifact, rows: Tensor) -> Measured:
    """The measures of `rows` ``[N, features and targets]``, in the manifest's order."""
    features, targets = version.manifest.features, version.manifest.targets
    given, wanted = rows[:, : len(features)], rows[:, len(features) :]
    errors = torch.cat(list(_errors(version.network, given, wanted)))
    minimum = torch.tensor([column.minimum for column in features])
    maximum = torch.tensor([column.maximum for column in features])
    outside = ((given < minimum) | (given > maximum)).any(dim=1)
    by_target = {column.name: _measures(error) for column, error in zip(targets, errors.T, strict=True)}
    return Measured(by_target, float(outside.double().mean()))


def _errors(network: torch.nn.Module, given: Tensor, wanted: Tensor) -> Iterator[Tensor]:
    for at in range(0, len(given), _BLOCK_ROWS):
        block = slice(at, at + _BLOCK_ROWS)
        with torch.inference_mode():
            predicted = network(given[block])
        if len(unfit := (~predicted.isfinite()).nonzero()):
            raise InvalidInputError(
                f"reading {at + 1 + int(unfit[0, 0])}: its prediction is not a finite float32 number"
            )
        yield predicted.double() - wanted[block].double()


def _measures(errors: Tensor) -> dict[str, float]:
    values = (errors.square().mean().sqrt(), errors.abs().mean(), errors.mean(), errors[errors.abs().argmax()])
    return dict(zip(MEASURES, map(float, values), strict=True))


def _print(manifest: artifact.Manifest, measured: Measured) -> None:
    labels = [f"{column.name} ({column.unit})" if column.unit else column.name for column in manifest.targets]
    width = max(map(len, ("target", *labels)))
    print(" ".join([f"{'target':<{width}}", *(f"{name:>10}" for name in MEASURES)]))
    for label, values in zip(labels, measured.targets.values(), strict=True):
        print(" ".join([f"{label:<{width}}", *(f"{value:>10.4g}" for value in values.values())]))
    print(f"{OUT_OF_RANGE} {measured.out_of_range:.4g}")


def _check_limits(limits: Sequence[tuple[str, float]]) -> None:
    known = (*MEASURES, OUT_OF_RANGE)
    for name, _ in limits:
        if name not in known:
            raise InvalidInputError(f"--fail-above {name}: is no measure; the measures are {', '.join(known)}")


def _compare(measured: Measured, limits: Sequence[tuple[str, float]]) -> None:
    above = []
    for name, limit in limits:
        if name == OUT_OF_RANGE:
            found = {name: measured.out_of_range}
        else:
            found = {f"{name} of {target}": abs(values[name]) for target, values in measured.targets.items()}
        above += [f"{what} is {value:.4g}, above {limit:g}" for what, value in found.items() if value > limit]
    if above:
        raise LimitError("; ".join(above))
