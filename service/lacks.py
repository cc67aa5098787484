"""Tells a failure that may pass by itself, such as a lack of memory, from one that lasts until a file changes."""

import errno

# What the system says of the files themselves. All else that it says, such as EIO or EMFILE, may pass.
_LASTING = {
    errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.ENAMETOOLONG, errno.EINVAL,
}  # fmt: skip
# What torch says, which has no exceptions of its own for most of it.
_SAID = (
    "out of memory",
    "allocate memory",
    "enough memory",
    "bad_alloc",
    "start new thread",
    "cublas_status_alloc_failed",
)

_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 60.0


def is_passing(error: BaseException | None) -> bool:
    """Return whether an error, or one that caused it, is a lack of something that may be there later."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in _LASTING):
            return True
        if isinstance(error, RuntimeError) and any(said in str(error).lower() for said in _SAID):
            return True
        error = error.__cause__
    return False


def wait_seconds(tries: int) -> float:
    """Return how long to wait after that many tries: 1, 2, 4 seconds and so on, and no more than a minute."""
    return min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0 ** min(tries - 1, 10))
