"""Errors as the protocol has them: ``{"error": "..."}``, and 400 for whatever is wrong in a request."""

from http import HTTPStatus

import orjson

from service.problems import Problem

PREFIX = "/v2"


def is_below(path: str) -> bool:
    """Whether a path is the protocol's."""
    return path == PREFIX or path.startswith(PREFIX + "/")


def status(problem: Problem) -> HTTPStatus:
    """The problem's status; the protocol makes no difference between not parseable and wrong."""
    return HTTPStatus.BAD_REQUEST if problem.status is HTTPStatus.UNPROCESSABLE_ENTITY else problem.status


def body(problem: Problem) -> bytes:
    """The detail, and the first of the faults."""
    first = "".join(f": {fault.pointer} {fault.detail}" for fault in problem.faults[:1])
    return orjson.dumps({"error": problem.detail + first})
