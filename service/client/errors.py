"""What can go wrong for a caller of the client; every error of it is a ClientError.

ClientError
├── BadTable                   the table cannot be sent as it is, or leaves no name for a prediction
├── ServiceProblem             the service refused: `status`, `kind`, `detail`, `errors`, as docs/api.md lists them
│   ├── Unauthorized      401  the key is missing or wrong
│   ├── NotFound          404  no such model, version or parameter
│   ├── TooLarge          413  a single row is more than the service takes
│   ├── WrongValues       422  `errors` say where
│   ├── Unavailable       503  not ready or overloaded, for as long as the timeout let it be asked
│   └── ServiceDeadline   504  the service's own deadline passed; also a DeadlinePassed
├── UnexpectedAnswer           not what docs/api.md says: it may be another service's
├── ConnectionLost             no connection, or one that broke, for as long as the timeout let it be tried
└── DeadlinePassed             no answer within the timeout
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

# In `/column/17`, and in `row 17, column name`.
_ROW = re.compile(r"(?<=^row )\d+(?=, )|(?<=[^/]/)\d+$")


class ClientError(Exception):
    """Why there is no answer."""


class BadTable(ClientError):
    """The table is of no known kind, or does not have what the model needs."""


class ConnectionLost(ClientError):
    """There was no connection to the service, or it broke before the answer was whole."""


class DeadlinePassed(ClientError):
    """The answer did not come in the time that there was."""


class UnexpectedAnswer(ClientError):
    """The answer is not what docs/api.md says."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One bad value and why: an RFC 6901 pointer into the table or, of Arrow, row and column; else what is named there.

    Rows count from 0.
    """

    pointer: str
    detail: str


class ServiceProblem(ClientError):
    """Why the service refused, in its own words (RFC 9457); `kind` is the end of its type, empty where it has none."""

    def __init__(self, status: int, kind: str, detail: str, errors: Sequence[Fault] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors)


class Unauthorized(ServiceProblem):
    """The service wants a key, and this is none that it knows."""


class NotFound(ServiceProblem):
    """There is no such model, version or parameter."""


class TooLarge(ServiceProblem):
    """The service takes no request of this size."""


class WrongValues(ServiceProblem):
    """The service cannot answer these values; `errors` say which, and why."""

    def counted_from(self, row: int) -> Self:
        """The same, where the first row that was sent is row number `row` of the caller's."""
        errors = [Fault(_counted_from(row, fault.pointer), fault.detail) for fault in self.errors]
        detail = self.detail
        if self.errors and detail.startswith(old := self.errors[0].pointer):
            detail = errors[0].pointer + detail.removeprefix(old)
        return type(self)(self.status, self.kind, detail, errors)


class Unavailable(ServiceProblem):
    """The service cannot answer this now; `retry_after` is the seconds that it asks to wait, 0 where it names none."""

    retry_after = 0


class ServiceDeadline(ServiceProblem, DeadlinePassed):
    """The service's own deadline came before the answer."""


@contextlib.contextmanager
def expecting(what: str) -> Iterator[None]:
    """Taking an answer apart: where it is not built as documented, raise UnexpectedAnswer."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UnexpectedAnswer(f"the answer is not {what} of a calibrant service: is the URL right?") from error


def _counted_from(row: int, pointer: str) -> str:
    return _ROW.sub(lambda number: str(int(number[0]) + row), pointer, count=1)
