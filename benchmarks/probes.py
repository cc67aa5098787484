"""Requests at a fixed pace beside a load (W7), timed from when each was due, so that a stall counts for all it holds.

Each opens a connection of its own, as an orchestrator's probe does: none waits behind another's answer.
"""

import asyncio
import math

from benchmarks.processes import BenchError

PER_SECOND = 50
_GIVEN_UP_SECONDS = 10.0


def p99_ms(port: int, seconds: int, requests: dict[str, bytes]) -> dict[str, float]:
    """Send each of the named requests at the pace; return the 99th percentile of each."""
    return asyncio.run(_all(port, seconds, requests))


def get(path: str) -> bytes:
    """A GET, as bytes."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()


def post(path: str, body: bytes) -> bytes:
    """A POST of JSON, as bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _all(port: int, seconds: int, requests: dict[str, bytes]) -> dict[str, float]:
    start = asyncio.get_running_loop().time()
    due = [start + tick / PER_SECOND for tick in range(seconds * PER_SECOND)]
    answers = await asyncio.gather(
        *(asyncio.gather(*(_once(port, request, at) for at in due)) for request in requests.values())
    )
    return {name: _p99(taken) * 1e3 for name, taken in zip(requests, answers, strict=True)}


def _p99(taken: list[float]) -> float:
    return sorted(taken)[math.ceil(0.99 * len(taken)) - 1]


async def _once(port: int, request: bytes, due: float) -> float:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(due - loop.time())
    try:
        async with asyncio.timeout(_GIVEN_UP_SECONDS):
            status = await _status(port, request)
    except TimeoutError:
        return _GIVEN_UP_SECONDS
    except OSError as error:
        raise BenchError(f"port {port}: {request[:40]!r} beside the load: {error}") from error
    if status != b"200":
        raise BenchError(f"port {port}: status {status.decode(errors='replace')} to {request[:40]!r} beside the load")
    return loop.time() - due


async def _status(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        answer = await reader.read()
        return answer[9:12]
    finally:
        writer.close()
