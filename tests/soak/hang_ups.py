"""2,000 clients that hang up before their answer, mixed with bad and good ones: the good ones get right answers, the
bad ones their problem, and the model runs on no row that is known to be waited for by nobody: a client that has reset
its connection is gone, and one that has only closed may still read, until it is written to.

The service waits 200 ms before it runs a batch (`--max-wait-ms`), so that who hangs up has done so before the model
runs. How many rows the model ran on is what /v2/models/{model}/stats says.

Planted: a proxy that goes on asking for clients that have gone.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from soak.case import Case, Soak
from soak.load import DOORS, Tally, one_of
from soak.models import FAHRENHEIT, MODEL, celsius, publish
from soak.processes import Process, serving_behind
from soak.wire import Answer, Line, Lost, request, table

_WAIT_MS = 200
_GOING, _GOOD, _BAD = 80, 8, 8
_CLIENTS = 2000
_BODY = table(FAHRENHEIT)
# One row each, as batches are counted exactly only up to 128 rows.
_LEFT_BODY = table(FAHRENHEIT[:1])
_RESET = struct.pack("ii", 1, 0)
_BAD_BODIES = (b"{", b'{"fahrenheit":["x"]}', b'{"celsius":[1]}', b'{"fahrenheit":[1e999]}')


@dataclass
class Seen:
    """What each kind of client got, and the rows."""

    tally: Tally
    gone: int = 0
    closed: int = 0
    bad: int = 0
    bad_answers: int = 0
    rows_run: int = 0

    @property
    def rows_wanted(self) -> int:
        """Those of the good ones."""
        return self.tally.statuses[200] * len(FAHRENHEIT)

    @property
    def rows_allowed(self) -> int:
        """Those too of clients that may still have been reading."""
        return self.rows_wanted + self.closed

    @property
    def sent(self) -> str:
        """See Seen of `case`."""
        gone = f"{self.gone} requests that nobody waited for, {self.closed} of them not reset"
        return f"{gone}, {self.bad} bad ones, {self.tally.answered} good ones"

    @property
    def saw(self) -> str:
        """See Seen of `case`."""
        rows = f"{self.rows_wanted} rows wanted, the model ran on {self.rows_run}"
        return f"{self.tally}; {self.bad_answers} problems; {rows}"


def observe(soak: Soak) -> Seen:
    """The real one."""
    return _observed(soak, _CLIENTS * soak.count(1, 10), "")


def planted(soak: Soak) -> Seen:
    """A few."""
    return _observed(soak, 2 * _GOING, "none")


def faults(seen: Seen) -> list[str]:
    """What must not be."""
    found = []
    if seen.tally.other or seen.tally.wrong or seen.tally.lost:
        found.append(f"the good ones saw {seen.tally}")
    if seen.bad_answers != seen.bad:
        found.append(f"{seen.bad - seen.bad_answers} bad requests did not get their problem")
    if not seen.rows_wanted <= seen.rows_run <= seen.rows_allowed:
        wanted = f"{seen.rows_wanted} were waited for, and at most {seen.rows_allowed} seemed to be"
        found.append(f"the model ran on {seen.rows_run} rows; {wanted}")
    return found


def _observed(soak: Soak, clients: int, fault: str) -> Seen:
    artifacts = soak.folder / "artifacts"
    publish(artifacts)
    with serving_behind(artifacts, fault, "--max-wait-ms", str(_WAIT_MS)) as (service, asked):
        check = one_of({"1": celsius(artifacts / MODEL / "1")})
        before = _rows_run(service)
        seen = asyncio.run(_waves(asked.url, clients // _GOING, check))
        seen.rows_run = _rows_run(service) - before
        return seen


def _rows_run(service: Process) -> int:
    stats = service.get(f"/v2/models/{MODEL}/versions/1/stats").json()["model_stats"][0]
    return sum(batch["batch_size"] * batch["compute_infer"]["count"] for batch in stats["batch_stats"])


async def _waves(url: str, count: int, check: Callable[[Answer], str | None]) -> Seen:
    seen = Seen(Tally())
    good = [await Line.opened(url) for _ in range(_GOOD)]
    for number in range(count):
        going = [await Line.opened(url) for _ in range(_GOING)]
        bad = [await Line.opened(url) for _ in range(_BAD)]
        for at, line in enumerate(going):
            # Half of them with a header that the fast door does not know; of each half, half hang up by a reset.
            line.writer.write(request(_LEFT_BODY, "/predict", DOORS[at % 2]))
        asked = [_good(line, number, check, seen) for line in good]
        asked += [_bad(line, _BAD_BODIES[at % len(_BAD_BODIES)], seen) for at, line in enumerate(bad)]
        for at, line in enumerate(going):
            if at % 4 < 2:
                line.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            line.writer.close()
        seen.gone += len(going)
        seen.closed += sum(at % 4 >= 2 for at in range(len(going)))
        await asyncio.gather(*asked)
    for line in good:
        line.close()
    return seen


async def _good(line: Line, number: int, check: Callable[[Answer], str | None], seen: Seen) -> None:
    try:
        answer: Answer = await line.ask(_BODY, headers=DOORS[number % 2])
    except Lost as lost:
        seen.tally.lost.append(str(lost))
        return
    seen.tally.statuses[answer.status] += 1
    if answer.status == 200 and (wrong := check(answer)):
        seen.tally.wrong.append(wrong)


async def _bad(line: Line, body: bytes, seen: Seen) -> None:
    seen.bad += 1
    with contextlib.suppress(Lost):
        answer = await line.ask(body)
        seen.bad_answers += answer.status in {400, 422} and b"urn:problem-type" in answer.body
    line.close()


CASE = Case("hang-ups", observe, faults, planted)
