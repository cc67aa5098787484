"""The client, for programs with an event loop; the other client drives this one."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.client.errors import expecting
from service.client.forms import Forms
from service.client.prediction import Prediction, off_the_loop
from service.client.tables import table_of
from service.client.transport import Transport
from service.client.versions import Version, path

TableT = TypeVar("TableT")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a network: its values, and the training loss's gradient at the end, of one shape."""

    values: NDArray[np.float32]
    gradient: NDArray[np.float32]


class AsyncClient:
    """A service at a URL. Every method raises ClientError, and none takes longer than `timeout` seconds.

    Without a model the service's default model is meant, without a version the model's default; a version is a number
    or a label. After a 503 it asks again when the service says, after a lost connection in a moment.
    """

    def __init__(self, url: str, api_key: str | None = None, timeout: float = 60.0) -> None:
        """Raises ValueError for a URL or a key that cannot be one; connects with the first call."""
        self._transport = Transport(url, api_key)
        self._forms = Forms()
        self._timeout_seconds = timeout
        self._known: dict[tuple[str | None, str], Version] = {}

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def predict(
        self,
        table: TableT,
        interval: float | None = None,
        model: str | None = None,
        version: str | int | None = None,
        *,
        progress: bool = False,
    ) -> TableT:
        """The same kind of table, with columns appended; of an array ``[N, features]``, the predictions.

        A dict of columns, a pyarrow Table or a pandas DataFrame gets a column for each target; with an `interval` (the
        share of true values that shall lie inside) ``<target>_lower`` and ``<target>_upper``; and ``out_of_range``.
        Where the table has such a name already, the new column's begins with ``predicted_``. Columns that are no
        features stay, and are not sent. An array has the features in the model's order, or is ``[N]`` for one; back
        comes float32 ``[N, targets]``, with an `interval` ``[N, targets, 3]``: prediction, lower, upper.

        One version answers all rows, also where another goes live meanwhile. `progress` shows a bar on stderr.
        """
        deadline = self._deadline()
        answering = await self._version(model, version, deadline)
        whole = await asyncio.to_thread(table_of, table, answering)
        prediction = Prediction(self._transport, self._forms, whole, answering, interval, deadline)
        answers = await prediction.answers(progress=progress)
        appended: TableT = await off_the_loop(partial(whole.with_answers, answers), whole.rows)
        return appended

    async def version(self, model: str | None = None, version: str | int | None = None) -> Version:
        """The version that answers now, and its columns; to name it makes later calls one request each."""
        return await self._version(model, version, self._deadline())

    async def parameters(self, model: str | None = None, version: str | int | None = None) -> dict[str, Parameter]:
        """Every parameter of the network, by its name."""
        document = await self._get("/parameters", model, version)
        with expecting("a list of parameters"):
            return {
                parameter["name"]: Parameter(
                    np.array(parameter["values"], dtype=np.float32), np.array(parameter["gradient"], dtype=np.float32)
                )
                for parameter in document["parameters"]
            }

    async def models(self) -> list[dict[str, Any]]:
        """Every model with its labels, default version and versions, as ``GET /models`` has them."""
        document = await self._transport.get("/models", self._deadline())
        with expecting("a list of models"):
            models: list[dict[str, Any]] = document["models"]
        return models

    async def report(self, model: str | None = None, version: str | int | None = None) -> dict[str, Any]:
        """The training record: loss curves, readings, residuals, data digest, seed, environment."""
        report: dict[str, Any] = await self._get("/report", model, version)
        return report

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout_seconds

    async def _get(self, what: str, model: str | None, version: str | int | None) -> Any:  # noqa: ANN401 - JSON
        deadline = self._deadline()
        if model is None and version is not None:
            model = (await self._version(None, None, deadline)).model
        return await self._transport.get(path(model, version) + what, deadline)

    async def _version(self, model: str | None, version: str | int | None, deadline: float) -> Version:
        if model is None and version is not None:
            model = (await self._version(None, None, deadline)).model
        if known := self._known.get((model, str(version))):
            return known
        # This says who answers, and is a 503 with the time to come back while nobody does.
        who = await self._transport.get(f"{path(model, version)}/parameters", deadline, {"values": "false"})
        with expecting("a list of parameters"):
            of, number = who["model"], who["version"]
        if (of, number) not in self._known:
            self._known[of, number] = Version.described(await self._transport.get(path(of, number), deadline))
        return self._known[of, number]
