"""Errors as the protocol has them, ``{"error": "..."}`` and 400 for whatever is wrong in a request; and where."""

from http import HTTPStatus

import orjson

from service import media, problems
from service.problems import Problem

PREFIX = "/v2"


def response(problem: Problem, path: str) -> tuple[HTTPStatus, str, bytes]:
    """The status, media type and body of a problem at this path: the protocol's form below its prefix, else our own."""
    if is_below(path):
        return _status(problem), media.JSON, _body(problem)
    return problem.status, problems.MEDIA_TYPE, problem.body()


def is_below(path: str) -> bool:
    """Whether a path is the protocol's."""
    return path == PREFIX or path.startswith(PREFIX + "/")


def _status(problem: Problem) -> HTTPStatus:
    """The problem's status; the protocol makes no difference between not parseable and wrong."""
    return HTTPStatus.BAD_REQUEST if problem.status is HTTPStatus.UNPROCESSABLE_ENTITY else problem.status


def _body(problem: Problem) -> bytes:
    """The detail, and the first of the faults."""
    first = "".join(f": {fault.pointer} {fault.detail}" for fault in problem.faults[:1])
    return orjson.dumps({"error": problem.detail + first})
