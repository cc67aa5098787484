"""The engine by itself: right rows to the right request, one batch a turn, honest refusals, nobody left waiting."""

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cost import Cost
from service.engine import Engine
from service.entry import Closed, Entry, Expired, Miscounted, Refused, Rows
from service.outputs import Outputs

CHEAP = Cost(fixed=1e-6, per_row=1e-9)
SLOW = Cost(fixed=1.0, per_row=1e-9)
BY_BLOCKS = Cost(fixed=0.0, per_row=1e-3)


def double(rows: Rows) -> Outputs:
    """The toy model: 2x + 1, out of range above 100; a row of -1 breaks its whole batch."""
    if (rows == -1).any():
        raise RuntimeError("a bad row")
    return Outputs(2 * rows + 1, np.any(rows > 100, axis=1))


class Recorder:
    """A model that keeps the sizes of its batches, and can be held back."""

    def __init__(self, run: Callable[[Rows], Outputs] = double) -> None:
        self.sizes: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self._run = run

    def __call__(self, rows: Rows) -> Outputs:
        """Answer, once the gate is open."""
        assert self.open.wait(10)
        self.sizes.append(len(rows))
        return self._run(rows)


def engine(run: Callable[[Rows], Outputs], cost: Cost = CHEAP, **limits: float) -> Engine:
    """An engine with wide limits, but for those given."""
    return Engine(
        run,
        cost,
        ThreadPoolExecutor(1),
        max_queue_rows=int(limits.get("max_queue_rows", 10**7)),
        max_loop_hold=limits.get("max_loop_hold", 0.005),
        max_wait=limits.get("max_wait", 0.0),
    )


def submit(to: Engine, values: list[float], deadline: float = math.inf) -> tuple[Entry, asyncio.Future[Entry]]:
    """Queue one column of values."""
    settled: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
    entry = Entry(np.array(values, dtype=np.float32).reshape(-1, 1), deadline, settled.set_result)
    to.submit(entry)
    return entry, settled


def values(entry: Entry) -> list[float]:
    """What came back."""
    assert entry.outputs is not None, entry.error
    result: list[float] = entry.own_outputs().predictions[:, 0].tolist()
    return result


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it on a loop of its own, for ten seconds at most."""

    async def bounded() -> None:
        await asyncio.wait_for(main(), 10)

    asyncio.run(bounded())


@pytest.mark.parametrize("cost", [CHEAP, SLOW, BY_BLOCKS])
def test_each_request_gets_its_own_rows_whatever_the_lane(cost: Cost) -> None:
    """In the loop, on the thread as a batch, and in blocks."""

    async def main() -> None:
        model = engine(double, cost)
        waiting = [submit(model, [float(number), float(number + 100)] * (1 + number % 50)) for number in range(60)]
        for number, (_, settled) in enumerate(waiting):
            entry = await settled
            assert values(entry) == [2.0 * number + 1, 2.0 * number + 201] * (1 + number % 50)
            assert entry.outputs is not None
            assert entry.outputs.out_of_range[entry.start : entry.stop].tolist() == [False, number > 0] * (
                1 + number % 50
            )
        assert model.queued_rows == 0

    run(main)


@given(
    st.lists(st.lists(st.floats(0, 1000, width=32), max_size=30), min_size=1, max_size=20),
    st.sampled_from([CHEAP, SLOW, BY_BLOCKS]),
)
def test_any_mixture_of_sizes_comes_back_in_place(tables: list[list[float]], cost: Cost) -> None:
    """Empty tables too."""

    async def main() -> None:
        model = engine(double, cost)
        waiting = [submit(model, table)[1] for table in tables]
        for table, settled in zip(tables, waiting, strict=True):
            np.testing.assert_array_equal(values(await settled), 2 * np.array(table, dtype=np.float32) + 1)

    run(main)


def test_what_waits_in_one_turn_is_one_batch() -> None:
    """Three requests, one call; and they are told so."""

    async def main() -> None:
        model = Recorder()
        batching = engine(model)
        waiting = [submit(batching, [1.0, 2.0])[1] for _ in range(3)]
        assert [(await settled).batch for settled in waiting] == [6, 6, 6]
        assert model.sizes == [6]

    run(main)


def test_a_batch_stops_where_it_would_hold_the_loop_too_long() -> None:
    """The rest goes with the next turn."""

    async def main() -> None:
        model = Recorder()
        batching = engine(model, Cost(fixed=0.0, per_row=0.001), max_loop_hold=0.0045)
        waiting = [submit(batching, [1.0, 2.0])[1] for _ in range(5)]
        await asyncio.gather(*waiting)
        assert model.sizes == [4, 4, 2]

    run(main)


def test_with_a_wait_a_batch_collects_over_turns() -> None:
    """max_wait holds the first request for the others."""

    async def main() -> None:
        model = Recorder()
        batching = engine(model, max_wait=0.05)
        _, first = submit(batching, [1.0])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        _, second = submit(batching, [2.0])
        await asyncio.gather(first, second)
        assert model.sizes == [2]

    run(main)


@pytest.mark.parametrize("cost", [CHEAP, SLOW])
def test_one_bad_row_fails_alone(cost: Cost) -> None:
    """Its neighbours in the batch are answered."""

    async def main() -> None:
        batching = engine(double, cost)
        waiting = [submit(batching, [value])[1] for value in (1.0, -1.0, 3.0)]
        good, bad, other = [await settled for settled in waiting]
        assert (values(good), values(other)) == ([3.0], [7.0])
        assert isinstance(bad.error, RuntimeError)
        assert bad.outputs is None
        assert batching.queued_rows == 0

    run(main)


def test_a_large_request_does_not_delay_a_small_one() -> None:
    """Small ones are answered between its blocks, and two large ones take turns."""

    async def main() -> None:
        model = Recorder()
        batching = engine(model, Cost(fixed=0.0, per_row=0.001))
        model.open.clear()
        _, first = submit(batching, [1.0] * 35)
        _, second = submit(batching, [2.0] * 15)
        order: list[str] = []
        first.add_done_callback(lambda _: order.append("first"))
        second.add_done_callback(lambda _: order.append("second"))
        await asyncio.sleep(0.01)
        model.open.set()
        _, small = submit(batching, [3.0])
        small.add_done_callback(lambda _: order.append("small"))
        assert values(await small) == [7.0]
        assert values(await second) == [5.0] * 15
        assert values(await first) == [3.0] * 35
        await asyncio.sleep(0)
        assert order == ["small", "second", "first"]

    run(main)


def test_where_one_row_is_too_dear_for_the_loop_small_requests_share_the_thread() -> None:
    """Those that come while the model runs are one batch; a large one takes its turn before them."""

    async def main() -> None:
        model = Recorder()
        batching = engine(model, SLOW)
        model.open.clear()
        _, first = submit(batching, [1.0])
        await asyncio.sleep(0.01)
        _, large = submit(batching, [5.0, 6.0])
        later = [submit(batching, [float(value)])[1] for value in range(3)]
        model.open.set()
        await asyncio.gather(first, large, *later)
        assert model.sizes == [1, 2, 3]

    run(main)


def test_small_requests_do_not_starve_a_large_one() -> None:
    """On the thread they take turns, however many small ones come."""

    async def main() -> None:
        model = Recorder()
        batching = engine(model, SLOW)
        _, large = submit(batching, [5.0, 6.0])
        count = 0
        while not large.done():
            await submit(batching, [1.0])[1]
            count += 1
        assert count <= 3

    run(main)


def test_what_does_not_fit_is_refused_at_once_with_a_time_to_come_back() -> None:
    """The bound counts rows; the time comes from the measured rate; what is queued is answered. It counts as failed."""

    async def main() -> None:
        batching = engine(double, max_queue_rows=10)
        _, settled = submit(batching, [1.0] * 8)
        with pytest.raises(Refused) as refused:
            submit(batching, [1.0] * 3)
        assert refused.value.retry_after >= 1
        assert batching.executions.failed.count == 1
        _, fits = submit(batching, [1.0] * 2)
        await asyncio.gather(settled, fits)
        await submit(batching, [1.0] * 10)[1]

    run(main)


def test_retry_after_is_what_the_queue_will_take() -> None:
    """100 rows at the warm-up's ten a second are ten seconds."""

    async def main() -> None:
        batching = engine(double, Cost(fixed=0.0, per_row=0.1), max_queue_rows=100)
        _, waiting = submit(batching, [1.0] * 100)
        with pytest.raises(Refused) as refused:
            submit(batching, [1.0])
        assert refused.value.retry_after == 10
        await waiting

    run(main)


@pytest.mark.parametrize("cost", [CHEAP, SLOW, BY_BLOCKS])
def test_the_model_runs_on_no_row_that_nobody_waits_for(cost: Cost) -> None:
    """Cancelled and expired requests are dropped before it; the expired one is told."""

    async def main() -> None:
        model = Recorder()
        batching = engine(model, cost, max_loop_hold=0.0005)
        rows = [1.0]
        cancelled, never = submit(batching, rows)
        cancelled.cancel()
        _, expired = submit(batching, rows, deadline=0.0)
        _, wanted = submit(batching, rows)
        assert isinstance((await expired).error, Expired)
        await wanted
        assert not never.done()
        assert model.sizes == [1]
        assert batching.queued_rows == 0

    run(main)


def test_a_cancelled_large_request_stops_after_its_block() -> None:
    """The rest of it is not computed."""

    async def main() -> None:
        model = Recorder()
        batching = engine(model, BY_BLOCKS)
        model.open.clear()
        large, settled = submit(batching, [1.0] * 100)
        await asyncio.sleep(0.01)
        large.cancel()
        model.open.set()
        await submit(batching, [1.0] * 20)[1]
        assert not settled.done()
        assert sum(model.sizes) == 10 + 20

    run(main)


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_a_block_that_the_thread_has_already_is_not_computed_for_nobody(end: str) -> None:
    """Behind the one that runs, when its client goes, or its deadline passes."""

    async def main() -> None:
        model = Recorder()
        batching = engine(model, BY_BLOCKS)
        model.open.clear()
        _, first = submit(batching, [1.0] * 10)
        second, _ = submit(batching, [1.0] * 10)
        await asyncio.sleep(0.01)
        if end == "cancelled":
            second.cancel()
        else:
            second.deadline = 0.0
        model.open.set()
        await first
        await submit(batching, [1.0] * 20)[1]
        assert sum(model.sizes) == 10 + 20
        assert isinstance(second.error, Expired) == (end == "expired")
        assert batching.queued_rows == 0

    run(main)


def test_closing_answers_everything_that_waits() -> None:
    """Also the large request that runs; and nothing is taken any more."""

    async def main() -> None:
        model = Recorder()
        batching = engine(model, BY_BLOCKS)
        model.open.clear()
        _, large = submit(batching, [1.0] * 100)
        _, queued = submit(batching, [1.0] * 100)
        _, small = submit(batching, [1.0])
        batching.close()
        model.open.set()
        for settled in (queued, small, large):
            assert isinstance((await settled).error, Closed)
        with pytest.raises(Closed):
            submit(batching, [1.0])
        assert batching.queued_rows == 0

    run(main)


@pytest.mark.parametrize("end", ["the engine is closed", "the model fails"])
def test_whoever_has_gone_is_not_answered_whatever_comes_of_it(end: str) -> None:
    """Cancelled while it waits or runs: its reply is not called, and those beside it are answered."""

    async def main() -> None:
        model = Recorder()
        batching = engine(model, BY_BLOCKS)
        model.open.clear()
        running, gone = submit(batching, [-1.0] * 20)
        waiting, gone_too = submit(batching, [1.0] * 20)
        _, wanted = submit(batching, [2.0] * 20)
        await asyncio.sleep(0.01)
        for entry, settled in ((running, gone), (waiting, gone_too)):
            entry.cancel()
            settled.cancel()
        if end == "the engine is closed":
            batching.close()
        model.open.set()
        entry = await wanted
        assert isinstance(entry.error, Closed) == (end == "the engine is closed")
        while batching.queued_rows:  # noqa: ASYNC110 - nobody is told when a block ends that nobody waits for
            await asyncio.sleep(0.001)

    run(main)


@pytest.mark.parametrize("cost", [CHEAP, BY_BLOCKS])
def test_a_model_that_gives_another_number_of_rows_is_an_error(cost: Cost) -> None:
    """Never somebody else's row."""

    def short(rows: Rows) -> Outputs:
        return Outputs(rows[1:], np.zeros(len(rows) - 1, dtype=bool))

    async def main() -> None:
        batching = engine(short, cost)
        for count in (1, 30):
            entry = await submit(batching, [1.0] * count)[1]
            assert isinstance(entry.error, Miscounted)

    run(main)
