"""``python -m service``: serve the artifacts, check that all of them could be served, make a key, or ask a service."""

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import ValidationError

from service import access, signals, streams
from service.settings import ENVIRONMENT_PREFIX, Settings, unknown_variables

BAD_USAGE = 2
_INTERRUPTED = 130

# Read at import. The networks are small: a second thread costs more than it brings, and takes the event loop's core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 when it failed, 2 for bad usage, or 130 when it was interrupted."""
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run(argv: Sequence[str] | None) -> int:
    arguments = vars(parser().parse_args(argv))
    command = arguments.pop("command")
    if command == "predict":
        return _predict(arguments)
    if command == "key":
        return _key(arguments["name"])
    try:
        settings = Settings(**arguments)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        print(f"error: {'.'.join(map(str, fault['loc']))}: {fault['msg']}", file=sys.stderr)
        return BAD_USAGE
    try:
        return _check(settings) if command == "check" else _serve(settings)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_USAGE


def parser() -> argparse.ArgumentParser:
    """The commands and their flags: one flag for each setting."""
    whole = argparse.ArgumentParser(prog="python -m service", description=__doc__)
    commands = whole.add_subparsers(dest="command", required=True)
    for name, purpose in (("serve", "serve the artifacts"), ("check", "load every version as the service would")):
        command = commands.add_parser(name, help=purpose, description=f"{purpose}; each flag is also a setting")
        for field, info in Settings.model_fields.items():
            command.add_argument(
                "--" + field.replace("_", "-"),
                default=argparse.SUPPRESS,
                metavar="|".join(get_args(info.annotation)) if field in {"device", "log_level"} else None,
                help=f"{info.description} (default {info.default}; {ENVIRONMENT_PREFIX}{field.upper()})",
            )
    key = commands.add_parser("key", help="make an API key")
    key.description = "the key goes to stderr and is kept nowhere; the line for a file of keys goes to stdout"
    key.add_argument("name", metavar="NAME", help="whose key it is")
    _add_predict(commands.add_parser("predict", help="ask a service about the rows of a CSV file"))
    return whole


def _add_predict(command: argparse.ArgumentParser) -> None:
    command.description = "the same rows with predictions appended, on stdout; the API key is CALIBRANT_API_KEY"
    command.add_argument("file", metavar="FILE.csv", help="column names, then rows; - is standard input")
    command.add_argument("--url", required=True, help="where the service is, such as http://127.0.0.1:8000")
    command.add_argument("--model", help="default: the service's default model")
    command.add_argument("--version", help="a number or a label (default: the model's default)")
    command.add_argument("--interval", type=float, help="bounds too, for this share of true values, such as 0.9")
    command.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="for all rows (default 60)")


def _predict(arguments: dict[str, Any]) -> int:
    from service.client import command  # noqa: PLC0415 - the other commands need no client

    return command.run(**arguments)


def _key(name: str) -> int:
    try:
        key, line = access.new_key(name)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_USAGE
    print(key, file=sys.stderr)
    print(line)
    return 0


def _serve(settings: Settings) -> int:
    signals.prepare()
    gc.disable()  # what is imported stays: to look for garbage in it is a tenth of the start; the server enables it
    from service import server  # noqa: PLC0415 - torch takes a second to import, and --help should not

    return server.run(settings)


def _check(settings: Settings) -> int:
    from service import check  # noqa: PLC0415 - as above

    for line in unknown_variables(os.environ):
        print(f"warning: {line}", file=sys.stderr)
    return check.run(settings)


if __name__ == "__main__":
    raise SystemExit(streams.run(main))
