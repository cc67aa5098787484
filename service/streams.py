"""Output of a command: a reader may leave early, as `head` does, and that is no failure; a full disk is one."""

import io
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer


class _Leavable(io.FileIO):
    """Takes what is written, also where nobody reads it any more; `fault` says why something was not written."""

    fault: str | None = None

    def write(self, content: "Buffer") -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            pass
        except OSError as error:
            self.fault = error.strerror
        return memoryview(content).nbytes


def run(main: Callable[[], int]) -> int:
    """Run a command, and return its exit status; 1 where its output could not be written."""
    output, raw = _leavable(sys.stdout)
    sys.stdout, (sys.stderr, _) = output, _leavable(sys.stderr)
    try:
        status = main()
    except SystemExit as ended:  # argparse, after --help or for bad usage
        status = int(ended.code or 0)
    if raw is not None:
        output.flush()
        if raw.fault:
            print(f"error: the output could not be written: {raw.fault}", file=sys.stderr)
            return status or 1
    return status


def _leavable(stream: TextIO) -> tuple[TextIO, _Leavable | None]:
    if not isinstance(stream, io.TextIOWrapper):  # closed from the start, or replaced by a test
        return stream, None
    stream.flush()
    raw = _Leavable(stream.fileno(), "w", closefd=False)
    # As Python itself does where PYTHONUNBUFFERED is set: what is written is there at once.
    buffer = raw if stream.write_through else io.BufferedWriter(raw)
    leavable = io.TextIOWrapper(
        buffer,
        stream.encoding,
        stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    return leavable, raw
