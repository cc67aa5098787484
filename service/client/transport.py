"""One request to the service until it is answered, refused, or out of time. Knows HTTP, and nothing of tables."""

import asyncio
import random
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import orjson

from service.client.errors import (
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
    WrongValues,
    expecting,
)

_PROBLEM = "application/problem+json"
_TYPED = {
    401: Unauthorized,
    404: NotFound,
    413: TooLarge,
    422: WrongValues,
    503: Unavailable,
    504: ServiceDeadline,
}
_BILLION_DIGITS = 10
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0


class Transport:
    """A pool of connections to one service; whatever it asks may be asked twice, as nothing there changes anything."""

    def __init__(self, url: str, api_key: str | None) -> None:
        """Raises ValueError for a URL or a key that cannot be one."""
        headers = {}
        if api_key is not None:
            if not (api_key.isascii() and api_key.isprintable()):  # not shown: it is a secret
                raise ValueError("the API key has characters other than printable ASCII")
            headers["authorization"] = f"Bearer {api_key}"
        self.url = _checked(url)
        # No timeouts of its own: the deadline of a call covers connecting, sending and reading.
        self._http = httpx.AsyncClient(base_url=self.url, headers=headers, timeout=None)  # noqa: S113

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def get(self, path: str, deadline: float, params: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401
        """The JSON document at a path; raises ClientError."""
        response = await self.send(self.request("GET", path, params=params), deadline)
        with expecting("a document"):
            return orjson.loads(response.content)

    def request(self, method: str, path: str, **options: Any) -> httpx.Request:  # noqa: ANN401 - httpx has the types
        """A request to a path below the service's URL."""
        return self._http.build_request(method, path, **options)

    async def send(self, request: httpx.Request, deadline: float) -> httpx.Response:
        """A good answer. `deadline` is a time of the event loop; past it, the last cause is raised."""
        cause: ClientError = DeadlinePassed(f"{self.url} did not answer in time")
        for pause in _pauses():
            wait = pause
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._attempt(request)
            except Unavailable as error:
                cause, wait = error, max(pause, error.retry_after)
            except ConnectionLost as error:
                cause = error
            except TimeoutError:
                break
            if asyncio.get_running_loop().time() + wait >= deadline:
                break
            await asyncio.sleep(wait)
        raise cause

    async def _attempt(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._http.send(request)
        except httpx.RequestError as error:
            raise ConnectionLost(f"{self.url}: {error or type(error).__name__}") from error
        if response.is_success:
            return response
        raise _problem(response)


def _pauses() -> Iterator[float]:
    """Seconds between attempts, longer each time, and never those of every other client."""
    longest = _FIRST_PAUSE_SECONDS
    while True:
        yield random.uniform(longest / 2, longest)  # noqa: S311 - no secret
        longest = min(2 * longest, _LONGEST_PAUSE_SECONDS)


def _problem(response: httpx.Response) -> ServiceProblem:
    """What a response that is not a good one says; a proxy on the way says less than the service."""
    kind, detail = "", f"{response.status_code} {response.reason_phrase}".strip()
    faults: list[Fault] = []
    if response.headers.get("content-type", "").startswith(_PROBLEM):
        with expecting("a problem"):
            document = orjson.loads(response.content)
            kind, detail = document["type"].rpartition(":")[2], document["detail"]
            faults = [Fault(fault["pointer"], fault["detail"]) for fault in document.get("errors", ())]
    problem = _TYPED.get(response.status_code, ServiceProblem)(response.status_code, kind, detail, faults)
    if isinstance(problem, Unavailable):
        problem.retry_after = _seconds(response.headers.get("retry-after", ""))
    return problem


def _seconds(text: str) -> int:
    """Return the pause that Retry-After asks for, at most a billion seconds; 0 for a date, as a proxy may send."""
    if not (text.isascii() and text.isdigit()):
        return 0
    digits = text.lstrip("0")
    return int(digits or "0") if len(digits) < _BILLION_DIGITS else 10**9


def _checked(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(f"{url!r} is not a URL: {error}") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ValueError(f"{url!r} is not the URL of a service: it has to begin with http:// or https://")
    return url
