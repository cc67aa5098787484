"""What a scrape answers: what this process has counted and what is so in it now, and the same of its fellow workers."""

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

from service.catalog import Version
from service.counts import Counts
from service.exposition import exposition
from service.metrics import Metrics
from service.resolve import Resolver
from service.snapshots import Snapshots, Worker
from service.store import Store

_SNAPSHOT_SECONDS = 1.0

log = logging.getLogger("calibrant.scrape")


class Scrape:
    """Its methods are called on the event loop, and hold it for no more than what counting takes."""

    def __init__(
        self, metrics: Metrics, store: Store, resolver: Resolver, info: tuple[str, str], snapshot: Path | None
    ) -> None:
        """`info` is the service's version and its device; `snapshot` this worker's file, None for the only process."""
        self._metrics = metrics
        self._store = store
        self._resolver = resolver
        self._info = info
        self._snapshots = Snapshots(snapshot) if snapshot else None
        self._before = self._snapshots.before() if self._snapshots else Counts()
        self._before.add(("worker_starts",), 1)
        # Of its own: the pool that others use may be full of large requests.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scrape")

    async def text(self) -> bytes:
        """All families, of all workers; what another one counted in the last second may be missing."""
        own = await self._own()
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._text, own, self._facts())

    async def follow(self) -> None:
        """Keep this worker's file up to date, for the others' scrapes; the only process has none."""
        while self._snapshots:
            own = await self._own()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._keep, own)
            await asyncio.sleep(_SNAPSHOT_SECONDS)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _own(self) -> Worker:
        counts = await self._metrics.counts()
        counts.include(self._before)
        for model, number in self._store.swaps.copy().items():
            counts.add(("swaps", model), number)
        for model, number in self._store.failed_loads.copy().items():
            counts.add(("failed_loads", model), number)
        return Worker(self._snapshots.name if self._snapshots else "0", os.getpid(), counts, self._now())

    def _now(self) -> Counts:
        now = Counts()
        now.add(("workers",), 1)
        now.add(("ready_workers",), self._resolver.is_ready())
        now.add(("warnings", ""), len(self._store.catalog.notes))
        for name, model in self._store.catalog.models.items():
            now.add(("warnings", name), len(model.warnings()))
        for version in self._versions():
            of = (version.model, str(version.number))
            now.add(("version_state", *of, version.state), 1)
            if version.served:
                now.add(("version_differs", *of), version.differs)
                engines = version.served.engines
                now.add(("queue_rows", *of), sum(engine.queued_rows for engine in engines))
                now.add(("queue_limit_rows", *of), sum(engine.max_queue_rows for engine in engines))
        return now

    def _facts(self) -> Counts:
        facts = Counts()
        facts.add(("info", *self._info), 1)
        for version in self._versions():
            for column in version.served.subject.features if version.served else ():
                of = (version.model, str(version.number), column.name)
                facts.add(("feature_minimum", *of), column.minimum)
                facts.add(("feature_maximum", *of), column.maximum)
        return facts

    def _versions(self) -> list[Version]:
        return [version for model in self._store.catalog.models.values() for version in model.versions.values()]

    def _text(self, own: Worker, facts: Counts) -> bytes:
        if not self._snapshots:
            return exposition([own], facts)
        self._keep(own)  # first, so that no other worker's answer has less than this one's
        return exposition([own, *self._snapshots.others()], facts)

    def _keep(self, own: Worker) -> None:
        try:
            cast("Snapshots", self._snapshots).write(own)
        except OSError as error:
            log.error("the counts of this worker cannot be written for the others: %s", error.strerror)
