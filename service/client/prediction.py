"""One table's way: in blocks to one version of a model, several at once, and their answers in order."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import httpx

from service.client.answers import Answers
from service.client.errors import ServiceProblem, TooLarge, UnexpectedAnswer, WrongValues, expecting
from service.client.forms import Form, Forms
from service.client.tables import Table
from service.client.transport import Transport
from service.client.versions import Version

AT_ONCE = 4
BLOCK_ROWS = 50_000
# A float64 takes at most 25 bytes of JSON, and a service takes 16 MiB unless it was told otherwise.
BLOCK_VALUES = 600_000


# So many are written, read or joined in less than a millisecond.
_FEW_ROWS = 1000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Prediction:
    """A table and whom to ask about it; `forms` are those that the service takes, as far as that is known."""

    transport: Transport
    forms: Forms
    table: Table
    version: Version
    interval: float | None
    deadline: float

    async def answers(self, *, progress: bool) -> Answers:
        """What the version says of each row; raises the first error of any block, and then asks for no other."""
        size = max(1, min(BLOCK_ROWS, BLOCK_VALUES // len(self.version.features)))
        starts = iter(range(0, max(self.table.rows, 1), size))  # also a table without rows is a block
        answered: dict[int, Answers] = {}

        async def work() -> None:
            for start in starts:
                stop = min(start + size, self.table.rows)
                answered[start] = await self._block(start, stop)
                advance(stop - start)

        with _progress(self.table.rows, shown=progress) as advance:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(AT_ONCE):
                        group.create_task(work())
            except ExceptionGroup as errors:
                first = errors.exceptions[0]
            else:
                parts = [answered[start] for start in sorted(answered)]
                return await off_the_loop(partial(Answers.joined, parts), self.table.rows)
        raise first

    async def _block(self, start: int, stop: int) -> Answers:
        """The answers to some rows; in halves where the service takes less at once."""
        try:
            return await self._request(start, stop)
        except TooLarge:
            if stop - start < 2:
                raise
        middle = (start + stop) // 2
        return Answers.joined([await self._block(start, middle), await self._block(middle, stop)])

    async def _request(self, start: int, stop: int) -> Answers:
        form = self.forms.best(in_arrow=self.table.in_arrow)
        columns = {name: column[start:stop] for name, column in self.table.columns.items()}
        body = await off_the_loop(partial(form.write, columns), stop - start)
        request = self.transport.request(
            "POST",
            f"{self.version.path}/predict",
            content=body,
            params=None if self.interval is None else {"interval": str(self.interval)},
            headers={"content-type": form.media_type, "accept": form.media_type},
        )
        try:
            response = await self.transport.send(request, self.deadline)
        except WrongValues as problem:
            raise problem.counted_from(start) from problem
        except ServiceProblem as problem:
            if problem.status == 415 and self.forms.give_up(form):
                return await self._request(start, stop)
            raise
        return await off_the_loop(partial(self._read, form, response, stop - start), stop - start)

    def _read(self, form: Form, response: httpx.Response, rows: int) -> Answers:
        with expecting("a prediction"):
            answers = form.read(response.content, self.version, interval=self.interval is not None)
        if answers.predictions.shape != (rows, len(self.version.targets)) or len(answers.out_of_range) != rows:
            raise UnexpectedAnswer(f"{rows} rows were sent, and {len(answers.predictions)} answered")
        return answers


async def off_the_loop(work: Callable[[], T], rows: int) -> T:
    """Do what takes long for many rows on a thread, as others may wait for the event loop."""
    return work() if rows <= _FEW_ROWS else await asyncio.to_thread(work)


@contextlib.contextmanager
def _progress(rows: int, *, shown: bool) -> Iterator[Callable[[int], object]]:
    """What is told of each so many rows that are answered: a bar on stderr, where it shall be shown."""
    if not shown:
        yield lambda _: None
        return
    from tqdm import tqdm  # noqa: PLC0415 - for who asks for it

    with tqdm(total=rows, unit="row") as bar:
        yield bar.update
