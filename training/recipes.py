"""The flags of ``fit`` that say how to fit: which recipe they mean, and what they change of it."""

import argparse
from typing import Any, TypeAlias

from training import automatic, flags, textbook
from training.errors import InvalidInputError
from training.loop import OPTIMIZERS
from training.network import ACTIVATIONS

Recipe: TypeAlias = automatic.Recipe | textbook.Recipe

# What only the textbook's recipe knows.
_TEXTBOOK = ("optimizer", "learning_rate", "epochs")
_FLAGS = ("hidden", "activation", "validation_fraction", *_TEXTBOOK)


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add them; none has a default here, as each recipe has its own."""
    add = command.add_argument
    add("--recipe", choices=("automatic", "textbook"), help="automatic, unless one of the textbook's flags is given")
    add("--hidden", type=flags.hidden, metavar="auto|N[,N...]", help="neurons per hidden layer, 0 for none; auto, or 8")
    add("--activation", type=str.lower, choices=ACTIVATIONS, help="tanh")
    add(
        "--validation-fraction", type=flags.fraction, metavar="X", help="rows never fitted to: 0, with the textbook 0.2"
    )
    add("--optimizer", type=str.lower, choices=OPTIMIZERS, help="of the textbook: sgd")
    add("--learning-rate", type=flags.learning_rate, metavar="X", help="of the textbook: 0.001")
    add("--epochs", type=flags.epochs, metavar="N", help="of the textbook: 5000")


def take(given: dict[str, Any]) -> Recipe:
    """Take these flags out of those given; raises InvalidInputError where they do not go together."""
    named = given.pop("recipe")
    taken = {name: value for name in _FLAGS if (value := given.pop(name)) is not None}
    own = [name for name in taken if name in _TEXTBOOK]
    if named == "automatic" and own:
        raise InvalidInputError(f"--{own[0].replace('_', '-')} belongs to --recipe textbook")
    if named != "textbook" and not own:
        return automatic.Recipe(**{name: value for name, value in taken.items() if value != flags.AUTO})
    if taken.get("hidden") == flags.AUTO:
        raise InvalidInputError("--hidden auto: the textbook's recipe has to be told how many")
    return textbook.Recipe(**taken)
