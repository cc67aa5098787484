"""Versions that are there: where one lies, by number or label, and what it holds, read as the service reads it."""

from pathlib import Path

from service import artifact
from training.errors import InvalidInputError, from_os


def named(name: str) -> str:
    """`name`, which can name a model or a label; raises InvalidInputError where it cannot."""
    if not artifact.is_name(name):
        raise InvalidInputError(f"{name!r}: must be lower-case letters, digits, _ and -, a letter first")
    return name


def existing(artifacts: Path, model: str, version: int) -> Path:
    """The directory of a version that is there; raises InvalidInputError where it is not, or where no model can be."""
    directory = artifacts / named(model)
    if version not in _versions(directory):
        raise InvalidInputError(f"{directory / str(version)}: there is no such version")
    return directory / str(version)


def find(artifacts: Path, model: str, reference: str | None) -> Path:
    """The directory of a version by number or label; None is what the service answers with, champion or the highest.

    Raises InvalidInputError where there is none.
    """
    directory = artifacts / named(model)
    numbers, labels = _versions(directory), artifact.labels(directory)
    if reference is None:
        number = labels.get(artifact.DEFAULT_LABEL, max(numbers, default=None))
    else:
        number = ({str(number): number for number in numbers} | labels).get(reference)
    if number not in numbers:
        there = ", ".join(map(str, [*numbers, *labels])) or "none"
        raise InvalidInputError(
            f"{directory}: has no version {reference or artifact.DEFAULT_LABEL}; its versions and labels: {there}"
        )
    return directory / str(number)


def read(directory: Path) -> artifact.Artifact:
    """A version, whole; raises InvalidInputError for one that no service would load."""
    try:
        return artifact.read(directory)
    except artifact.ArtifactError as error:
        raise InvalidInputError(f"{directory}: {error}") from error


def _versions(directory: Path) -> list[int]:
    try:
        return artifact.versions(directory)
    except OSError as error:
        raise from_os(directory, error) from error
