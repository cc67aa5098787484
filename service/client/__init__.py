"""A client of the service, for Python programs and the shell. Knows the service by its HTTP alone.

Nothing here imports torch, a web framework, or another module of `service`. ``errors`` draws the tree of the errors.
"""

from service.client.asynchronous import AsyncClient, Parameter
from service.client.blocking import Client
from service.client.errors import (
    BadTable,
    ClientError,
    ConnectionLost,
    DeadlinePassed,
    Fault,
    NotFound,
    ServiceDeadline,
    ServiceProblem,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    WrongValues,
)
from service.client.versions import Version

__all__ = [
    "AsyncClient",
    "BadTable",
    "Client",
    "ClientError",
    "ConnectionLost",
    "DeadlinePassed",
    "Fault",
    "NotFound",
    "Parameter",
    "ServiceDeadline",
    "ServiceProblem",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Version",
    "WrongValues",
]
