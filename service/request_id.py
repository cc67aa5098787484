"""The id that every request has and every response carries, so that one can be found in the other's logs."""

import itertools
import os
import re

HEADER = b"x-request-id"
_ACCEPTABLE = re.compile(rb"[\x21-\x7e]{1,128}")
_PREFIX = os.urandom(6).hex().encode()
_count = itertools.count()


def make() -> bytes:
    """An id that no other request has, here or in another process."""
    return b"%s-%x" % (_PREFIX, next(_count))


def of(sent: bytes | None) -> bytes:
    """The id a client sent, if it is up to 128 visible ASCII characters; else a new one."""
    return sent if sent is not None and _ACCEPTABLE.fullmatch(sent) else make()
