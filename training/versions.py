"""Versions that are there: where one lies, by number or label, and what it holds, read as the service reads it."""

from collections.abc import Sequence
from contextlib import suppress
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
    """The directory of a version by number or label; None is what a service that starts now answers with.

    That is `champion`, else the highest version with the columns of the lowest one. Raises InvalidInputError where
    there is none, and for a label that is damaged.
    """
    directory = artifacts / named(model)
    numbers, found = _versions(directory), artifact.labels(directory)
    labels = dict(found.versions)
    if fault := found.faults.get(reference or artifact.DEFAULT_LABEL):
        raise InvalidInputError(f"{directory / fault}: repair it with `python -m training label`")
    if reference is None and artifact.DEFAULT_LABEL not in labels:
        number = _default(directory, numbers)
    else:
        number = ({str(number): number for number in numbers} | labels).get(reference or artifact.DEFAULT_LABEL)
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


def interface(directory: Path) -> artifact.Interface | None:
    """Return what each default of a model takes and gives, as its lowest version does; None where nobody can know."""
    known = [artifact.interface(directory / str(number)) for number in _versions(directory)]
    return (known[0] if known else None) or artifact.agreed(found for found in known if found)


def _default(directory: Path, numbers: Sequence[int]) -> int | None:
    wanted = interface(directory)
    if wanted is None and any(artifact.interface(directory / str(number)) for number in numbers):
        raise InvalidInputError(
            f"{directory}: its versions have different columns, and nobody can know those of version {min(numbers)}, "
            f"which its default has to have: name a version, or make one the default with `python -m training label`"
        )
    for number in reversed(numbers):
        with suppress(artifact.ArtifactError):
            if wanted and artifact.read(directory / str(number)).manifest.interface.fits(wanted):
                return number
    return max(numbers, default=None)  # to read this one will say why it does not load


def _versions(directory: Path) -> list[int]:
    try:
        return artifact.versions(directory)
    except OSError as error:
        raise from_os(directory, error) from error
