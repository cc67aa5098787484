"""The client, for programs without an event loop: it drives the other one from a loop in a thread of its own."""

import weakref
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, ParamSpec, Self, TypeVar

from anyio.from_thread import start_blocking_portal

from service.client.asynchronous import AsyncClient, Parameter, TableT
from service.client.versions import Version

P = ParamSpec("P")
T = TypeVar("T")


class Client:
    """A service at a URL; safe to use from several threads. Its methods are AsyncClient's, which describes them."""

    def __init__(self, url: str, api_key: str | None = None, timeout: float = 60.0) -> None:
        """Raises ValueError for a URL or a key that cannot be one; connects with the first call."""
        self._client = AsyncClient(url, api_key, timeout)
        opened = ExitStack()
        self._portal = opened.enter_context(start_blocking_portal())
        opened.callback(self._portal.call, self._client.aclose)
        # Whoever forgets to close it is not kept waiting for the thread when the interpreter ends.
        self._close = weakref.finalize(self, opened.close)

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections, and end the thread."""
        self.close()

    def close(self) -> None:
        """Close the connections, and end the thread."""
        self._close()

    def predict(
        self,
        table: TableT,
        interval: float | None = None,
        model: str | None = None,
        version: str | int | None = None,
        *,
        progress: bool = False,
    ) -> TableT:
        """The same kind of table, with predictions: see AsyncClient.predict."""
        return self._run(self._client.predict, table, interval, model, version, progress=progress)

    def version(self, model: str | None = None, version: str | int | None = None) -> Version:
        """The version that answers now, and its columns; to name it makes later calls one request each."""
        return self._run(self._client.version, model, version)

    def parameters(self, model: str | None = None, version: str | int | None = None) -> dict[str, Parameter]:
        """Every parameter of the network, by its name."""
        return self._run(self._client.parameters, model, version)

    def models(self) -> list[dict[str, Any]]:
        """Every model with its labels, default version and versions, as ``GET /models`` has them."""
        return self._run(self._client.models)

    def report(self, model: str | None = None, version: str | int | None = None) -> dict[str, Any]:
        """The training record: loss curves, readings, residuals, data digest, seed, environment."""
        return self._run(self._client.report, model, version)

    def _run(self, method: Callable[P, Awaitable[T]], *arguments: P.args, **options: P.kwargs) -> T:
        call = self._portal.start_task_soon(partial(method, *arguments, **options))
        try:
            return call.result()
        except BaseException:
            call.cancel()  # Ctrl-C: nobody waits for it any more
            raise
