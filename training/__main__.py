"""The commands ``python -m training fit``, ``compare``, ``label``, ``sign`` and ``verify``.

Owns the flags and the exit statuses: 0 done, 1 the run failed or the version is not what was signed, 2 something given
cannot be used, 130 interrupted.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from training import automatic, compare, publish, signing, textbook
from training.errors import InvalidInputError, TrainingError
from training.fit import Job, Recipe, fit
from training.loop import OPTIMIZERS
from training.network import ACTIVATIONS

_HIDDEN_MAX_WIDTH = 1_024
_HIDDEN_MAX_LAYERS = 8
_EPOCHS_MAX = 10_000_000
_LEARNING_RATE_MAX = 1e6
_SEED_MAX = 2**32 - 1
_TEXTBOOK = ("optimizer", "learning_rate", "epochs")
_RECIPE = ("hidden", "activation", "validation_fraction", *_TEXTBOOK)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit status; an expected failure is one line on stderr."""
    try:
        arguments = parser().parse_args(argv)
        arguments.run(arguments)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidInputError(message)


def parser() -> argparse.ArgumentParser:
    """The command line, with all of its flags."""
    whole = _Parser(prog="python -m training", allow_abbrev=False, description="Fit networks to readings.")
    commands = whole.add_subparsers(required=True, metavar="command")
    _add_fit(commands.add_parser("fit", allow_abbrev=False, help="fit a network to readings, and publish it"))
    comparison = commands.add_parser("compare", allow_abbrev=False, help="repeat a published table, and print both")
    comparison.add_argument("--seed", type=_integer(0, _SEED_MAX), default=compare.DEFAULT_SEED, help="%(default)s")
    comparison.set_defaults(run=lambda arguments: compare.compare(arguments.seed))
    label = commands.add_parser("label", allow_abbrev=False, help="make a label the name of a version")
    _add_version(label, "label")
    label.set_defaults(run=_label)
    sign = commands.add_parser("sign", allow_abbrev=False, help="sign a version with a private key")
    sign.add_argument("--key", type=Path, required=True, metavar="PRIVATE.pem", help="an Ed25519 key")
    _add_version(sign)
    sign.set_defaults(run=_sign)
    verify = commands.add_parser("verify", allow_abbrev=False, help="say whether a service with a public key loads it")
    verify.add_argument("--public-key", type=Path, required=True, metavar="PUBLIC.pem", help="an Ed25519 key")
    _add_version(verify)
    verify.set_defaults(run=_verify)
    return whole


def _add_version(command: argparse.ArgumentParser, *between: str) -> None:
    command.add_argument("model")
    for name in between:
        command.add_argument(name, help="such as champion, which is what is served unless a request says otherwise")
    command.add_argument("version", type=_integer(1, 10**18 - 1))
    command.add_argument("--artifacts", type=Path, default=Path("artifacts"), metavar="DIR", help="%(default)s")


def _add_fit(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--data", type=Path, metavar="FILE.csv", help="readings; the eleven of the thermometer unless given")
    add("--target", action="append", default=[], metavar="COLUMN", help="may be repeated; the last column unless given")
    add("--unit", action="append", default=[], type=_unit, metavar="COLUMN=UNIT", help="may be repeated")
    add("--model", metavar="NAME", help="the file's name unless given")
    add("--recipe", choices=("automatic", "textbook"), help="automatic, unless one of the textbook's flags is given")
    add("--hidden", type=_hidden, metavar="auto|N[,N...]", help="neurons per hidden layer, 0 for none; else as is best")
    add("--activation", type=str.lower, choices=ACTIVATIONS, help="tanh")
    add("--validation-fraction", type=_fraction, metavar="X", help="rows never fitted to; 0, with the textbook 0.2")
    add("--optimizer", type=str.lower, choices=OPTIMIZERS, help="of the textbook: sgd")
    add("--learning-rate", type=_learning_rate, metavar="X", help="of the textbook: 0.001")
    add("--epochs", type=_integer(1, _EPOCHS_MAX), metavar="N", help="of the textbook: 5000")
    add("--seed", type=_integer(0, _SEED_MAX), default=0, metavar="N", help="%(default)s")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="%(default)s: CUDA where there is one")
    add("--artifacts", type=Path, default=Path("artifacts"), metavar="DIR", help="%(default)s")
    add("--key", type=Path, metavar="PRIVATE.pem", help="sign the version with this Ed25519 key")
    add("--report", action="store_true", help="add pictures to the artifact")
    command.set_defaults(run=_fit)


def _fit(arguments: argparse.Namespace) -> None:
    recipe = _recipe(arguments)
    others = {
        name: getattr(arguments, name) for name in ("data", "model", "seed", "device", "artifacts", "key", "report")
    }
    fit(Job(targets=tuple(arguments.target), units=dict(arguments.unit), recipe=recipe, **others))


def _recipe(arguments: argparse.Namespace) -> Recipe:
    """The recipe that the flags name, with what they say of it and its own defaults for the rest."""
    given = {name: value for name in _RECIPE if (value := getattr(arguments, name)) is not None}
    own = [name for name in given if name in _TEXTBOOK]
    if arguments.recipe == "textbook" or (own and not arguments.recipe):
        if given.get("hidden") == "auto":
            raise InvalidInputError("--hidden auto: the textbook's recipe takes the sizes it is given")
        return textbook.Recipe(**given)
    if own:
        raise InvalidInputError(f"--{own[0].replace('_', '-')} belongs to --recipe textbook")
    if given.get("hidden") == "auto":
        del given["hidden"]
    return automatic.Recipe(**given)


def _label(arguments: argparse.Namespace) -> None:
    publish.set_label(arguments.artifacts, arguments.model, arguments.label, arguments.version)
    print(f"{arguments.model}: {arguments.label} is version {arguments.version}")


def _sign(arguments: argparse.Namespace) -> None:
    key = signing.private_key(arguments.key)
    signing.sign(arguments.artifacts, arguments.model, arguments.version, key)
    print(f"{arguments.model} version {arguments.version}: signed")


def _verify(arguments: argparse.Namespace) -> None:
    signing.verify(arguments.artifacts, arguments.model, arguments.version, arguments.public_key)
    print(f"{arguments.model} version {arguments.version}: ok")


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 20 and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return parse


def _hidden(text: str) -> tuple[int, ...] | str:
    if text == "auto":
        return text
    if text == "0":
        return ()
    widths = tuple(map(_integer(1, _HIDDEN_MAX_WIDTH), text.split(",")))
    if len(widths) > _HIDDEN_MAX_LAYERS:
        raise argparse.ArgumentTypeError(f"{len(widths)} layers are more than {_HIDDEN_MAX_LAYERS}")
    return widths


def _learning_rate(text: str) -> float:
    if not 0 < (value := _float(text)) <= _LEARNING_RATE_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, and at most {_LEARNING_RATE_MAX:g}")
    return value


def _fraction(text: str) -> float:
    if not 0 <= (value := _float(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to below 1")
    return value


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _unit(text: str) -> tuple[str, str]:
    name, _, unit = text.rpartition("=")
    if not (name and unit):
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=UNIT")
    return name, unit


if __name__ == "__main__":
    raise SystemExit(main())
