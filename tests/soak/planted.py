"""``python -m soak.planted FAULT UPSTREAM``: passes requests on to a service, and misbehaves in one way.

It also does what every careless proxy does: it goes on asking for clients that have hung up, and dies of SIGTERM at
once.
"""

import asyncio
import json
import re
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from soak.wire import address, read_message

_EVERY = 20
_LIMIT = 2**26

Message: TypeAlias = bytes | None
Fault: TypeAlias = Callable[["Planted", int, bytes], Message]


def none(_: "Planted", __: int, answer: bytes) -> Message:
    """As it came."""
    return answer


def drops(_: "Planted", number: int, answer: bytes) -> Message:
    """Now and then no answer."""
    return None if number % _EVERY == 0 else answer


def other_version(_: "Planted", number: int, answer: bytes) -> Message:
    """Now and then the values of one version under the name of another."""
    return re.sub(rb'"version":"\d', rb'"version":"9', answer) if number % _EVERY == 0 else answer


def wrong_values(_: "Planted", number: int, answer: bytes) -> Message:
    """Now and then another digit in a prediction."""
    changed = re.sub(rb'("celsius":\[-?\d*\.)(\d)', lambda found: found[1] + b"%d" % ((int(found[2]) + 5) % 10), answer)
    return changed if number % _EVERY == 0 else answer


def wrong_parameters(_: "Planted", __: int, answer: bytes) -> Message:
    """Another digit in a parameter."""
    return re.sub(rb'("values":\[+-?\d*\.)(\d)', lambda found: found[1] + b"%d" % ((int(found[2]) + 5) % 10), answer)


def no_retry_after(_: "Planted", __: int, answer: bytes) -> Message:
    """A refusal does not say when to come back."""
    return re.sub(rb"retry-after: \d+\r\n", b"", answer)


def leaks(planted: "Planted", _: int, answer: bytes) -> Message:
    """Whatever was answered is kept, several times over."""
    planted.kept.append(answer * 4)
    return answer


FAULTS: dict[str, Fault] = {
    "none": none, "drops": drops, "other-version": other_version, "wrong-values": wrong_values,
    "reads-first": none, "no-retry-after": no_retry_after, "leaks": leaks, "one-at-a-time": none,
    "loses-bodies": none, "wrong-parameters": wrong_parameters,
}  # fmt: skip


class Planted:
    """Such a server."""

    def __init__(self, fault: str, upstream: str) -> None:
        self.kept: list[bytes] = []
        self._fault = FAULTS[fault]
        self._upstream = address(upstream)
        self._numbered = 0
        self._loses_bodies = fault == "loses-bodies"
        self._reads_first = fault == "reads-first"
        self._turn = asyncio.Semaphore(1 if fault == "one-at-a-time" else 1_000_000)

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, from its first request to its last."""
        try:
            async with self._turn:
                await self._pass_on(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        service_reader, service_writer = await asyncio.open_connection(*self._upstream, limit=_LIMIT)
        try:
            while True:
                service_writer.write(await self._request(reader))
                head, body = await read_message(service_reader)
                self._numbered += 1
                answer = self._fault(self, self._numbered, head + body)
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
                if b"connection: close" in head:
                    return
        finally:
            service_writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> bytes:
        """The next one; with one fault read as JSON at once, with another without what follows an offer."""
        if not self._loses_bodies:
            head, body = await read_message(reader)
            if self._reads_first and body:
                json.loads(body)
            return head + body
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)\r\n", head)
        if b"\nupgrade:" in head.lower() or length is None:
            return head.replace(length[0], b"") if length else head
        return head + await reader.readexactly(int(length[1]))


async def _serve(fault: str, upstream: str) -> None:
    planted = Planted(fault, upstream)
    connection: Callable[..., Coroutine[Any, Any, None]] = planted.connection
    server = await asyncio.start_server(connection, "127.0.0.1", 0, limit=_LIMIT, backlog=2048)
    print(f"running on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
