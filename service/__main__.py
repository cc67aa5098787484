"""``python -m service``: serve the artifacts, or check that all of them could be served."""

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from typing import get_args

from pydantic import ValidationError

from service.settings import ENVIRONMENT_PREFIX, Settings

BAD_USAGE = 2

# Read at import. The networks are small: a second thread costs more than it brings, and takes the event loop's core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 when a check or the start failed, or 2 for bad usage."""
    arguments = vars(parser().parse_args(argv))
    command = arguments.pop("command")
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
    return whole


def _serve(settings: Settings) -> int:
    gc.disable()  # what is imported stays: to look for garbage in it is a tenth of the start; the server enables it
    from service import server  # noqa: PLC0415 - torch takes a second to import, and --help should not

    return server.run(settings)


def _check(settings: Settings) -> int:
    from service import check  # noqa: PLC0415 - as above

    return check.run(settings)


if __name__ == "__main__":
    raise SystemExit(main())
