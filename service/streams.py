"""Output of a command whose reader may leave early, as `head` does: what is left is dropped, and that is no failure."""

import io
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer


class _Leavable(io.FileIO):
    """Takes what is written, also where nobody reads it any more."""

    def write(self, content: "Buffer") -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            return memoryview(content).nbytes


def let_readers_leave() -> None:
    """Have this process's stdout and stderr never fail for want of a reader."""
    sys.stdout, sys.stderr = _leavable(sys.stdout), _leavable(sys.stderr)


def _leavable(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):  # closed from the start, or replaced by a test
        return stream
    stream.flush()
    raw = _Leavable(stream.fileno(), "w", closefd=False)
    # As Python itself does where PYTHONUNBUFFERED is set: what is written is there at once.
    buffer = raw if stream.write_through else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffer,
        stream.encoding,
        stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
