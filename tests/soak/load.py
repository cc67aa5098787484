"""Closed-loop load: so many connections, each asking again as soon as it is answered, and what became of all of it."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from soak.models import FAHRENHEIT, agree
from soak.wire import Answer, Line, Lost, table

# The fast door takes a plain request, the portable one whatever has a header that it does not know.
DOORS = ("", "x-unknown: 1\r\n")
_PAUSE_SECONDS = 0.01


@dataclass
class Tally:
    """What was seen so far."""

    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """How many answers."""
        return self.statuses.total()

    @property
    def other(self) -> dict[int, int]:
        """Answers that are not 200."""
        return {status: count for status, count in self.statuses.items() if status != 200}

    def __str__(self) -> str:
        """For the table."""
        return f"{self.statuses[200]} good, other {self.other}, {len(self.lost)} lost, {len(self.wrong)} wrong"


@dataclass
class Load:
    """Some lines that ask until they are told to stop; `check` says what is wrong with a good answer, if anything."""

    url: str
    connections: int
    check: Callable[[Answer], str | None]
    tally: Tally = field(default_factory=Tally)
    # Of each line, the process that answered last: the first part of the ids that it makes.
    processes: dict[int, str] = field(default_factory=dict)
    slowest: float = 0.0
    pause_seconds: float = 0.0
    stopped: bool = False
    reconnects: bool = True

    async def ask(self, number: int) -> None:
        """One line's work."""
        body = table(FAHRENHEIT)
        while not self.stopped:
            try:
                line = await Line.opened(self.url)
            except OSError:
                if not self.reconnects:
                    return
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            await self._ask_on(line, number, body)
            if not self.reconnects:
                return

    async def _ask_on(self, line: Line, number: int, body: bytes) -> None:
        try:
            while line.open and not self.stopped:
                answer = await line.ask(body, headers=DOORS[number % 2])
                self.tally.statuses[answer.status] += 1
                self.slowest = max(self.slowest, answer.seconds)
                self.processes[number] = answer.headers["x-request-id"].partition("-")[0]
                if answer.status == 200 and (wrong := self.check(answer)):
                    self.tally.wrong.append(wrong)
                if self.pause_seconds:
                    await asyncio.sleep(self.pause_seconds)
        except Lost as lost:
            self.tally.lost.append(str(lost))
        finally:
            line.close()


@contextlib.asynccontextmanager
async def loaded(load: Load) -> AsyncIterator[Load]:
    """While the block runs."""
    tasks = [asyncio.create_task(load.ask(number)) for number in range(load.connections)]
    try:
        yield load
    finally:
        load.stopped = True
        await asyncio.gather(*tasks)


def one_of(answers: dict[str, list[float]]) -> Callable[[Answer], str | None]:
    """Says of an answer whether its values are those of the version that it names."""

    def check(answer: Answer) -> str | None:
        document = answer.json()
        version, found = document["version"], document["predictions"]["celsius"]
        known = answers.get(version)
        return None if known and agree(found, known) else f"version {version} answered {found}, not {known}"

    return check
