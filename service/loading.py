"""Loads one version, and compares the one that serves with its files; says what went wrong, and when to try again."""

import hashlib
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from service import artifact, lacks
from service.artifact import ArtifactError, PublicKey
from service.catalog import Version
from service.cost import Cost
from service.engine import Engine, Run
from service.interface import Interface
from service.predictor import Predictor
from service.served import Served
from service.settings import Settings
from service.tables.json import Columns
from service.trial import Trials

log = logging.getLogger("calibrant.store")


class OthersDiffer(ArtifactError):
    """The other workers serve other bytes under this number."""


class Loader:
    """Makes the next state of a version from its files; a failure is a state too, and raises nothing."""

    def __init__(self, settings: Settings, device: torch.device, public_key: PublicKey | None) -> None:
        """With `public_key`, only versions that its owner signed are loaded."""
        self._settings = settings
        self._device = device
        self._public_key = public_key
        self._trials = Trials()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    def end_trial(self) -> None:
        """End the trial of a version that runs, from any thread, and let no other one begin."""
        self._trials.close()

    def close(self) -> None:
        """End the thread on which large batches run."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def loaded(self, path: Path, before: Version, digests: Mapping[int, str]) -> Version:
        """Return the version as ready, or as failed; `digests` are those under which others serve it."""
        said = {"model": before.model, "version": before.number}
        try:
            served, digest = self._served(path, digests.get(before.number))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one version is no other one's trouble
            failed = replace(_failed(before, error), interface=self._interface(path))
            if failed.is_news_after(before):
                text = "%s version %d does not go live: %s"
                log.error(text, before.model, before.number, failed.reason, extra={**said, "reason": failed.reason})
            return failed
        log.info("%s version %d is ready", before.model, before.number, extra=said)
        return Version(
            before.model,
            before.number,
            "ready",
            datetime.now(UTC),
            served=served,
            digest=digest,
            interface=served.predictor.manifest.interface,
        )

    def compared(self, path: Path, before: Version, served: Served) -> Version:
        """Return the version that serves, with a reason where its files are others now: they never replace it."""
        if not artifact.is_published(path, before.digest) and self._is_published_again(path):
            again = self.loaded(path, replace(before, served=None), {})
            if again.served:
                return again
        try:
            artifact.check_same(path, before.digest, served.predictor.manifest)
        except Exception as error:  # noqa: BLE001 - as above
            after = _differing(before, error)
        else:
            after = replace(before, reason=None, differs=False, tries=0, again_at=None)
        if after.reason and after.reason != before.reason:
            said = {"model": before.model, "version": before.number, "reason": after.reason}
            log.warning("%s version %d %s", before.model, before.number, after.reason, extra=said)
        return after

    def _interface(self, path: Path) -> Interface | None:
        """Return what a version takes and gives that did not load; None where nobody can know."""
        try:
            return artifact.interface(path, self._public_key)
        except Exception:  # noqa: BLE001 - as above
            return None

    def _is_published_again(self, path: Path) -> bool:
        """Return whether the folder holds, whole, what the record says was published as this version."""
        try:
            read = artifact.contents(path, self._public_key)
        except ArtifactError:
            return False
        return artifact.is_published(path, hashlib.sha256(read.manifest_bytes).hexdigest())

    def _served(self, path: Path, others: str | None) -> tuple[Served, str]:
        """Read, check and warm one version; raises ArtifactError, or what torch raises where the device fails."""
        settings = self._settings
        read = self._trials.read(path, self._public_key)
        digest = hashlib.sha256(read.manifest_bytes).hexdigest()
        # A number that was removed and published again is another version now; the others will load it too.
        if others not in (None, digest) and not artifact.is_published(path, digest):
            raise OthersDiffer("its files differ from what the other workers serve under this number")
        predictor = Predictor(read, self._device)
        columns = Columns([column.name for column in predictor.manifest.features], settings.max_rows)
        engine, bounding = self._engine(predictor.run, predictor.warm()), None
        if interval := predictor.manifest.interval:
            bounding = self._engine(predictor.run_interval, predictor.warm_interval(interval))
        return Served(int(path.name), predictor, columns, engine, bounding), digest

    def _engine(self, run: Run, cost: Cost) -> Engine:
        settings = self._settings
        return Engine(
            run,
            cost,
            self._thread,
            max_queue_rows=settings.max_queue_rows,
            max_loop_hold=settings.max_loop_hold_ms / 1000,
            max_wait=settings.max_wait_ms / 1000,
        )


def _reason(error: Exception) -> str:
    """Return what went wrong; of what torch says, its first sentence: the others have figures that change."""
    text = str(error).strip() or type(error).__name__
    if not isinstance(error, RuntimeError):
        return text
    # Of a network that failed while it ran, torch gives a trace; what went wrong is its last line.
    line = text.split("\n")[-1 if text.startswith("The following operation failed") else 0]
    return line.partition(". ")[0]


def _failed(before: Version, error: Exception) -> Version:
    reason = _reason(error)
    since = before.since if before.state == "failed" else datetime.now(UTC)
    failed = replace(before, state="failed", since=since, reason=reason, tries=0, again_at=None)
    # The others may have seen the old version's folder removed, and load the new one in a moment.
    if isinstance(error, OthersDiffer) or lacks.is_passing(error):
        return _tried_again(replace(failed, reason=f"{reason}; it is tried again"), before.tries)
    return failed


def _differing(before: Version, error: Exception) -> Version:
    reason = _reason(error)
    if lacks.is_passing(error):
        unread = replace(before, reason=f"serves as it was loaded; its files cannot be read now: {reason}")
        return _tried_again(unread, before.tries)
    reason = f"serves as it was first loaded; its files have changed since: {reason}"
    return replace(before, reason=reason, differs=True, tries=0, again_at=None)


def _tried_again(version: Version, tries: int) -> Version:
    return replace(version, tries=tries + 1, again_at=time.monotonic() + lacks.wait_seconds(tries + 1))
