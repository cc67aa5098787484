"""The errors that a user of `training` can expect, each with the exit status it ends the command with.

TrainingError
├── InvalidInputError    2   something that was given cannot be used: readings, a flag, a directory
├── DivergedError        1   the run itself failed
├── UnverifiedError      1   a version is not what the owner of a key signed
└── LimitError           3   a version is not as good as it has to be
"""

from typing import ClassVar


class TrainingError(Exception):
    """An expected failure; its message is one line that says what to change."""

    status: ClassVar[int]


class InvalidInputError(TrainingError):
    """Something that was given cannot be used; the message names the file, line and column where there are such."""

    status = 2


class DivergedError(TrainingError):
    """The loss or the parameters stopped being finite; the message names the epoch where there are such."""

    status = 1


class UnverifiedError(TrainingError):
    """A version that a service with the given public key would not load; the message says why."""

    status = 1


class LimitError(TrainingError):
    """A version's measure lies beyond the limit that was given for it; the message says which, and by how much."""

    status = 3


def from_os(path: object, error: OSError) -> InvalidInputError:
    """The InvalidInputError for what the operating system refused at `path`."""
    return InvalidInputError(f"{path}: {error.strerror or error}")
