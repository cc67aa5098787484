"""kill -9 of the parent of workers that ask nobody for a key, and at once a service with keys on the same port: from
the moment at which that one listens, nobody without a key is answered, and everybody with one is.

Planted: in the place of the new service, a proxy to a service without keys, as a worker is that outlives its parent.
"""

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from soak.case import Case, Soak
from soak.models import FAHRENHEIT, publish
from soak.processes import serving, serving_behind, until
from soak.wire import ask, table

_KEY = "a-key-of-the-soak"
_WITH_KEY = f"authorization: Bearer {_KEY}\r\n"
_ASKED = 100
_GONE_SECONDS = 2.0


@dataclass
class Seen:
    """How long somebody listened after each kill, and what was answered once the new service listened."""

    held: list[float] = field(default_factory=list)
    without: list[int] = field(default_factory=list)
    with_key: list[int] = field(default_factory=list)

    @property
    def sent(self) -> str:
        """See Seen of `case`."""
        return f"{len(self.held)} kills, {len(self.without)} requests without a key, {len(self.with_key)} with one"

    @property
    def saw(self) -> str:
        """See Seen of `case`."""
        held = ", ".join(f"{seconds:.2f} s" for seconds in self.held)
        return f"{self.without.count(401)} without a key were refused; the port was free after {held}"


def observe(soak: Soak) -> Seen:
    """One kill after the other."""
    seen = Seen()
    for _ in range(soak.count(1, 10)):
        _observe(soak, seen, planted=False)
    return seen


def planted(soak: Soak) -> Seen:
    """One kill."""
    seen = Seen()
    _observe(soak, seen, planted=True)
    return seen


def faults(seen: Seen) -> list[str]:
    """What must not be."""
    found = [f"the port was held for {seconds:.1f} s" for seconds in seen.held if seconds > _GONE_SECONDS]
    for whose, statuses, good in (("without a key", seen.without, 401), ("with a key", seen.with_key, 200)):
        if others := [status for status in statuses if status != good]:
            found.append(f"{len(others)} requests {whose} of {len(statuses)} got {sorted(set(others))}")
    return found


def _observe(soak: Soak, seen: Seen, *, planted: bool) -> None:
    artifacts, keys = soak.folder / "artifacts", soak.folder / "keys"
    if not artifacts.exists():
        publish(artifacts)
    keys.write_text(f"soak {hashlib.sha256(_KEY.encode()).hexdigest()}\n")
    with serving(artifacts, "--workers", "2") as first:
        first.until_ready()
        first.process.kill()
        seen.held.append(until(lambda: not _is_taken(first.url), "free"))
        with _next(artifacts, keys, first.url.rpartition(":")[2], planted=planted) as url:
            asyncio.run(_asked(url, seen))


def _is_taken(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 5):
        return True
    return False


@contextlib.contextmanager
def _next(artifacts: Path, keys: Path, port: str, *, planted: bool) -> Iterator[str]:
    if planted:
        with serving_behind(artifacts, "none") as (_, proxy):
            yield proxy.url
        return
    with serving(artifacts, "--workers", "2", "--port", port, "--api-keys-file", str(keys)) as service:
        yield service.url


async def _asked(url: str, seen: Seen) -> None:
    """From the moment at which the service listens: the first ones wait until its models are loaded."""
    body = table(FAHRENHEIT)
    for statuses, headers in ((seen.without, ""), (seen.with_key, _WITH_KEY)):
        answers = await asyncio.gather(*(ask(url, body, headers=headers) for _ in range(_ASKED)))
        statuses += [answer.status for answer in answers]


CASE = Case("killed parent", observe, faults, planted)
