"""The engine: what waits when the model becomes free is one batch. Knows rows and time; no HTTP, no metrics, no torch.

Two lanes run the model. Requests whose batch is cheap wait for the end of the event loop's turn and run in it,
together: no thread, no timer. What would hold the loop for too long runs on one worker thread, in blocks, one block of
each large request in turn, the small requests that came meanwhile going between them. All state is the loop's.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import TypeAlias

import numpy as np

from service.cost import Cost
from service.entry import Closed, EngineError, Entry, Expired, Miscounted, Refused, Rows
from service.executions import Executions
from service.outputs import Outputs

# A worker's block: this many times the loop's bound, as a hop between threads costs about 0.1 ms.
_BLOCK_HOLDS = 2
# Pieces that the worker has at once: with the next one there already, it need not wait for a busy loop between two.
_PIECES_SENT = 2
_RATE_SMOOTHING = 0.1
_EXPIRED = "its deadline passed while it waited"

Run: TypeAlias = Callable[[Rows], Outputs]


class Engine:
    """Batches the requests of one model version. Every method is called on the event loop."""

    def __init__(  # noqa: PLR0913 - three limits, each by name
        self,
        run: Run,
        cost: Cost,
        worker: ThreadPoolExecutor,
        *,
        max_queue_rows: int,
        max_loop_hold: float,
        max_wait: float = 0.0,
    ) -> None:
        """`run` must be callable from the loop and from `worker` at once; times are in seconds."""
        self.executions = Executions()
        self._run = run
        self._worker = worker
        self.max_queue_rows = max_queue_rows
        self._max_wait = max_wait
        self._inline_rows = cost.rows_within(max_loop_hold)
        # A block is never so small that the fixed part of a call is most of it.
        self._block_rows = max(1, cost.rows_within(_BLOCK_HOLDS * max_loop_hold), cost.rows_worth_a_call())
        self._rate = 1 / (cost.fixed + cost.per_row)
        self._small: deque[Entry] = deque()
        self._large: deque[Entry] = deque()
        self._queued_rows = 0
        self._turn_due = False
        self._pieces_sent = 0
        self._prefer_large = False
        self._closed = False

    @property
    def queued_rows(self) -> int:
        """Rows that wait or run now."""
        return self._queued_rows

    def submit(self, entry: Entry) -> bool:
        """Queue an entry; true when it runs in this turn of the loop. Raises Refused if it does not fit, or Closed."""
        count = len(entry.rows)
        self.check_room(count)
        self._queued_rows += count
        if count <= max(self._inline_rows, 1):
            self._small.append(entry)
            if not self._turn_due:
                self._wake(self._max_wait)
            return self._inline_rows > 0 and not self._max_wait
        self._large.append(entry)
        self._wake()
        return False

    def check_room(self, rows: int) -> None:
        """Raise Refused where `rows` more rows do not fit into the queue, or Closed."""
        if self._closed or self._queued_rows + rows > self.max_queue_rows:
            self.executions.failed.add(0.0)
            raise self._refusal()

    def _refusal(self) -> EngineError:
        if self._closed:
            return Closed("the version is no longer served")
        return Refused(max(1, math.ceil(self._queued_rows / self._rate)))

    def close(self) -> None:
        """Answer everything that waits with Closed; a block that runs now is finished, and its result thrown away."""
        self._closed = True
        for entry in (*self._small, *self._large):
            self._fail(entry, Closed("the service stops"))
        self._small.clear()
        self._large.clear()

    def _wake(self, delay: float = 0.0) -> None:
        """See to it that a turn comes, if there is something that it could run."""
        inline = self._small and self._inline_rows
        if self._turn_due or not (inline or self._can_send()):
            return
        self._turn_due = True
        loop = asyncio.get_running_loop()
        if delay:
            loop.call_later(delay, self._turn)
        else:
            loop.call_soon(self._turn)

    def _can_send(self) -> bool:
        """Whether something waits, and the worker has room for it."""
        return self._pieces_sent < _PIECES_SENT and bool(self._small or self._large)

    def _turn(self) -> None:
        """Run what this turn of the loop collected."""
        self._turn_due = False
        if self._inline_rows and (batch := self._take_small(self._inline_rows)):
            started = perf_counter()
            outputs = _attempt(self._run, _joined(batch))
            self._settle_batch(batch, outputs, perf_counter() - started)
        if self._can_send():
            self._start_block()
        self._wake()

    def _take_small(self, most_rows: int) -> list[Entry]:
        batch: list[Entry] = []
        now = perf_counter()
        room = max(1, most_rows)
        small = self._small
        while small and (count := len(small[0].rows)) <= room:
            entry = small.popleft()
            if self._still_wanted(entry, now):
                room -= count
                batch.append(entry)
        return batch

    def _still_wanted(self, entry: Entry, now: float) -> bool:
        if entry.is_wanted(now):
            if not entry.batch:
                entry.waited = now - entry.arrived
            return True
        self._fail(entry, Expired(_EXPIRED))
        return False

    def _settle_batch(self, batch: list[Entry], outputs: Outputs | Exception, seconds: float) -> None:
        if isinstance(outputs, Exception):
            if len(batch) == 1:
                self._fail(batch[0], outputs)
            else:
                self._large.extend(batch)  # each again, by itself: one bad row must fail alone
            return
        total = len(outputs)
        self._measure(total, seconds)
        start = 0
        for entry in batch:
            entry.outputs, entry.ran, entry.batch = outputs, seconds, total
            entry.start = start
            start = entry.stop = start + len(entry.rows)
            self._settle(entry)

    def _start_block(self) -> None:
        """Give the worker thread its next piece: small requests and blocks of large ones, in turn."""
        if self._small and not self._inline_rows and not (self._large and self._prefer_large):
            self._prefer_large = True
            if batch := self._take_small(self._block_rows):
                self._send(batch, _joined(batch), partial(self._settle_batch, batch))
                return
        self._prefer_large = False
        while self._large:
            entry = self._large.popleft()
            if self._still_wanted(entry, perf_counter()):
                self._send([entry], entry.next_rows(self._block_rows), partial(self._end_block, entry))
                return

    def _send(self, batch: list[Entry], rows: Rows, end: Callable[[Outputs | Exception, float], None]) -> None:
        loop = asyncio.get_running_loop()
        self._pieces_sent += 1

        def work() -> None:
            started = perf_counter()
            # It may have waited behind another piece, and nobody for it any more.
            wanted = any(entry.is_wanted(started) for entry in batch)
            outputs = _attempt(self._run, rows) if wanted else Expired(_EXPIRED)
            seconds = perf_counter() - started
            try:
                loop.call_soon_threadsafe(done, outputs, seconds)
            except RuntimeError:  # the loop was closed meanwhile: nobody waits
                return

        def done(outputs: Outputs | Exception, seconds: float) -> None:
            self._pieces_sent -= 1
            end(outputs, seconds)
            self._wake()

        self._worker.submit(work)

    def _end_block(self, entry: Entry, outputs: Outputs | Exception, seconds: float) -> None:
        if self._closed:
            self._fail(entry, Closed("the service stops"))
        elif isinstance(outputs, Exception):
            self._fail(entry, outputs)
        else:
            self._measure(len(outputs), seconds)
            if entry.add_block(outputs, seconds):
                self._settle(entry)
            else:
                self._large.append(entry)

    def _measure(self, rows: int, seconds: float) -> None:
        self.executions.add(rows, seconds)
        self._rate += _RATE_SMOOTHING * (rows / max(seconds, 1e-9) - self._rate)

    def _fail(self, entry: Entry, error: Exception) -> None:
        if not entry.cancelled:
            entry.error = error
        self._settle(entry)

    def _settle(self, entry: Entry) -> None:
        if entry.settled:
            return
        entry.settled = True
        self._queued_rows -= len(entry.rows)
        if not entry.cancelled:
            if entry.error:
                self.executions.failed.add(perf_counter() - entry.arrived)
            entry.reply(entry)


def _joined(batch: list[Entry]) -> Rows:
    return batch[0].rows if len(batch) == 1 else np.concatenate([entry.rows for entry in batch])


def _attempt(run: Run, rows: Rows) -> Outputs | Exception:
    try:
        outputs = run(rows)
    except Exception as error:  # noqa: BLE001 - whatever a model raises becomes that request's error
        return error
    if not len(outputs) == len(outputs.out_of_range) == len(rows):
        return Miscounted(f"the model gave {len(outputs)} rows for {len(rows)}")
    return outputs
