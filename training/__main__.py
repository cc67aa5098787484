"""The commands of ``python -m training``.

Owns the flags and the exit statuses: 0 done, 1 the run failed or the version is not what was signed, 2 something given
cannot be used, 3 a version is not as good as it has to be, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from training import compare, flags, publish, recipes, report, signing, streams
from training.errors import InvalidInputError, TrainingError
from training.evaluate import Evaluation, evaluate
from training.fit import THERMOMETER, Job, fit
from training.grid import Grid
from training.loop import OPTIMIZERS
from training.network import ACTIVATIONS
from training.sweep import sweep


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
    _add_evaluate(commands.add_parser("evaluate", allow_abbrev=False, help="say how good a version is on new readings"))
    _add_report(commands.add_parser("report", allow_abbrev=False, help="write a page on a version, and its pictures"))
    _add_sweep(commands.add_parser("sweep", allow_abbrev=False, help="compare sizes, learning rates and seeds"))
    comparison = commands.add_parser("compare", allow_abbrev=False, help="repeat a published table, and print both")
    comparison.add_argument("--seed", type=flags.seed, default=compare.DEFAULT_SEED, help="%(default)s")
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
    command.add_argument("version", type=flags.version)
    _add_artifacts(command)


def _add_fit(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--data", type=Path, metavar="FILE.csv", help="readings; the eleven of the thermometer unless given")
    add("--target", action="append", default=[], metavar="COLUMN", help="may be repeated; the last column unless given")
    add("--unit", action="append", default=[], type=flags.unit, metavar="COLUMN=UNIT", help="may be repeated")
    add("--model", metavar="NAME", help="the file's name unless given")
    recipes.add_flags(command)
    add("--seed", type=flags.seed, default=0, metavar="N", help="%(default)s")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="%(default)s: CUDA where there is one")
    _add_artifacts(command)
    add("--key", type=Path, metavar="PRIVATE.pem", help="sign the version with this Ed25519 key")
    add("--report", action="store_true", help="add the report and its pictures to the artifact")
    add("--tensorboard", type=Path, metavar="DIR", help="log the run for TensorBoard, into DIR/MODEL/VERSION")
    command.set_defaults(run=_fit)


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--data", type=Path, required=True, metavar="FILE.csv", help="readings; columns are found by their names")
    add("--model", required=True, metavar="NAME")
    add("--version", metavar="N|LABEL", help="what the service answers with unless given: champion, or the highest")
    _add_artifacts(command)
    for flag in ("--fail-above", "--fail-below"):
        add(flag, action="append", default=[], type=flags.limit, metavar="MEASURE=X", help="may be repeated")
    command.set_defaults(run=lambda arguments: evaluate(Evaluation(**_given(arguments))))


def _add_report(command: argparse.ArgumentParser) -> None:
    command.add_argument("model")
    command.add_argument("version", help="a number or a label")
    command.add_argument("--out", type=Path, metavar="DIR", help="reports/MODEL/VERSION unless given")
    _add_artifacts(command)
    command.set_defaults(run=_report)


def _add_sweep(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--data", type=Path, default=THERMOMETER, metavar="FILE.csv", help="readings; the thermometer unless given")
    add("--target", action="append", default=[], metavar="COLUMN", help="may be repeated; the last column unless given")
    add("--hidden", type=flags.listed(flags.size), default="1,2,4,8,16,32", metavar="N[,N...]", help="%(default)s")
    rates = flags.listed(flags.learning_rate)
    add("--learning-rate", type=rates, default="0.0001,0.001,0.01", metavar="X[,X...]", help="%(default)s")
    add("--seeds", type=flags.seeds, default=20, metavar="N", help="%(default)s: the seeds 0 to 19")
    add("--activation", type=str.lower, choices=ACTIVATIONS, default="tanh", help="%(default)s")
    add("--optimizer", type=str.lower, choices=OPTIMIZERS, default="sgd", help="%(default)s")
    add("--epochs", type=flags.epochs, default=5000, metavar="N", help="%(default)s")
    add("--validation-fraction", type=flags.fraction, default=0.2, metavar="X", help="%(default)s")
    add("--out", type=Path, metavar="DIR", help="sweeps/FILE unless given")
    command.set_defaults(run=_sweep)


def _add_artifacts(command: argparse.ArgumentParser) -> None:
    command.add_argument("--artifacts", type=Path, default=Path("artifacts"), metavar="DIR", help="%(default)s")


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(arguments).items() if name != "run"}


def _fit(arguments: argparse.Namespace) -> None:
    given = _given(arguments)
    recipe = recipes.take(given)
    fit(Job(targets=tuple(given.pop("target")), units=dict(given.pop("unit")), recipe=recipe, **given))


def _report(arguments: argparse.Namespace) -> None:
    out = arguments.out or Path("reports") / arguments.model / arguments.version
    print(f"wrote {report.write(arguments.artifacts, arguments.model, arguments.version, out)}")


def _sweep(arguments: argparse.Namespace) -> None:
    given = _given(arguments)
    out = given.pop("out") or Path("sweeps") / arguments.data.stem
    sweep(Grid(targets=tuple(given.pop("target")), **given), out)


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


if __name__ == "__main__":
    raise SystemExit(streams.run(main))
