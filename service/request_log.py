"""What the log says of requests: each failure, now and then a refusal, with `access_log` every answer."""

import logging

from service.alike import Alike
from service.problems import Failed, Problem

log = logging.getLogger("calibrant.requests")
access_log = logging.getLogger("calibrant.access")


class RequestLog:
    """A route is a template, and of what a client sent no more is said than its id."""

    def __init__(self) -> None:
        self._alike = Alike()

    def problem(self, problem: Problem, identity: bytes, route: str, model: str) -> None:
        """Log every 500 with its trace, and of other problems one a second and kind.

        `alike` is how many of this kind got no line since the one before.
        """
        said = {"request_id": identity.decode(), "route": route, "model": model, "status": problem.status.value}
        said |= {"kind": problem.kind, "reason": problem.detail}
        if isinstance(problem, Failed):
            log.error("a request failed", exc_info=problem.__cause__, extra=said)
        elif (alike := self._alike.left_out(problem.kind)) is not None:
            log.warning("a request was refused", extra=said | {"alike": alike})

    def answered(self, identity: bytes, seconds: float, **said: str | int) -> None:
        """One line: `method`, `route`, `model` and `status`."""
        access_log.info("answered", extra={"request_id": identity.decode(), "seconds": round(seconds, 6), **said})
