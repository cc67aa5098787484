"""What the log says of requests: each failure, now and then a refusal, with `access_log` every answer."""

import logging
from time import monotonic

from service.problems import Failed, Problem

_SECONDS_BETWEEN = 1.0

log = logging.getLogger("calibrant.requests")
access_log = logging.getLogger("calibrant.access")


class RequestLog:
    """A route is a template, and of what a client sent no more is said than its id."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def problem(self, problem: Problem, identity: bytes, route: str, model: str) -> None:
        """Every 500, with its trace. Of other problems one a second and kind: a flood of them must not become work.

        `alike` is how many of this kind got no line since the one before.
        """
        said = {"request_id": identity.decode(), "route": route, "model": model, "status": problem.status.value}
        said |= {"kind": problem.kind, "reason": problem.detail}
        if isinstance(problem, Failed):
            log.error("a request failed", exc_info=problem.__cause__, extra=said)
            return
        now = monotonic()
        if now < self._next.get(problem.kind, 0.0):
            self._unsaid[problem.kind] = self._unsaid.get(problem.kind, 0) + 1
            return
        self._next[problem.kind] = now + _SECONDS_BETWEEN
        log.warning("a request was refused", extra=said | {"alike": self._unsaid.pop(problem.kind, 0)})

    def answered(self, identity: bytes, seconds: float, **said: str | int) -> None:
        """One line: `method`, `route`, `model` and `status`."""
        access_log.info("answered", extra={"request_id": identity.decode(), "seconds": round(seconds, 6), **said})
