"""One prediction request, from body to answer, as every door makes it. Knows problems and tables; no web framework."""

import asyncio
import logging
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import orjson

from service.engine import Closed, Entry, Expired, Outputs, Refused
from service.problems import MAX_FAULTS, DeadlinePassed, Failed, Fault, Problem, Unavailable, WrongValues, pointer
from service.store import Served

log = logging.getLogger("calibrant.predict")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: body, media type, and what goes into Server-Timing (seconds)."""

    body: bytes
    media_type: str
    waited: float
    ran: float

    def server_timing(self) -> str:
        """https://www.w3.org/TR/server-timing/, in milliseconds."""
        return f"wait;dur={self.waited * 1000:.3f}, model;dur={self.ran * 1000:.3f}"


async def predict(served: Served, body: bytes, timeout_seconds: float) -> Answer:
    """Answer a JSON table; raises Problem. Cancelling the caller takes its rows out of the queue."""
    rows = served.columns.from_json(body)
    settled: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
    entry = Entry(rows, settled.set_result, deadline=perf_counter() + timeout_seconds)
    try:
        served.engine.submit(entry)
        await settled
    except asyncio.CancelledError:
        entry.cancel()
        raise
    except (Refused, Closed) as error:
        raise problem(error) from error
    return answer(served, entry)


def answer(served: Served, entry: Entry) -> Answer:
    """What a settled entry says to its client; raises Problem."""
    if entry.outputs is None:
        raise problem(entry.error) from entry.error
    _check_finite(served, entry.outputs)
    return Answer(_to_json(served, entry.outputs), "application/json", entry.waited, entry.ran)


def problem(error: Exception | None) -> Problem:
    """What a client is told of an engine's error."""
    match error:
        case Refused():
            return Unavailable("the queue is full", retry_after=error.retry_after)
        case Closed():
            return Unavailable(str(error), retry_after=1)
        case Expired():
            return DeadlinePassed(str(error))
    log.error("the model failed", exc_info=error)
    return Failed("the model failed; the service's log says why")


def _check_finite(served: Served, outputs: Outputs) -> None:
    finite = np.isfinite(outputs.predictions)
    if not finite.all():
        rows = np.flatnonzero(~finite.all(axis=1))[:MAX_FAULTS].tolist()
        first = served.columns.names[0]
        raise WrongValues(
            "the network's answer is beyond float32",
            faults=[Fault(pointer((first, row)), "this row's prediction is not finite") for row in rows],
        )


def _to_json(served: Served, outputs: Outputs) -> bytes:
    columns = np.ascontiguousarray(outputs.predictions.T)
    targets = served.predictor.manifest.targets
    document = {
        "model": served.model,
        "version": str(served.number),
        "predictions": {target.name: column for target, column in zip(targets, columns, strict=True)},
        "out_of_range": np.flatnonzero(outputs.out_of_range),
    }
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
