"""The sockets that the service listens on. A port that is taken is refused, and the error says by whom."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

_BACKLOG = 2048
_LISTENS = "0A"
_MOST_CHARACTERS = 200

Listeners: TypeAlias = list[socket.socket]


def listen(host: str, port: int, processes: int) -> list[Listeners]:
    """Return the sockets of each of so many processes, one for each address of `host`; raises OSError.

    The first socket of an address is alone on it before the others join with SO_REUSEPORT: the kernel refuses it where
    anybody listens already, be it a service that shares its port among workers, or one that starts at this moment.
    """
    found: list[Listeners] = [[] for _ in range(processes)]
    try:
        for family, address, only in _addresses(host, port):
            for index, own in enumerate(found):
                port = found[0][0].getsockname()[1] if found[0] else port
                own.append(_bound(family, (address[0], port, *address[2:]), shared=index > 0, only=only))
                own[-1].listen(_BACKLOG)
                if processes > 1:
                    own[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        close(found)
        if error.errno == errno.EADDRINUSE:
            raise OSError(error.errno, f"address already in use{_by(port)}") from error
        raise
    return found


def renewed(listeners: Listeners) -> Listeners:
    """Return sockets on the same addresses that take no connection until their process listens; close the old ones.

    What waits in the old ones is reset, so that its clients can try again where somebody answers.
    """
    found = []
    for own in listeners:
        only = own.family == socket.AF_INET6 and bool(own.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
        found.append(_bound(own.family, own.getsockname(), shared=True, only=only))
    close([listeners])
    return found


def close(found: list[Listeners]) -> None:
    """Close all of them."""
    for listeners in found:
        for own in listeners:
            own.close()


def shown(listeners: Listeners) -> str:
    """Host and port as a URL has them."""
    host, port, *_ = listeners[0].getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _addresses(host: str, port: int) -> list[tuple[int, tuple[str | int, ...], bool]]:
    """Each address of `host` once, with its family, and whether IPv6 has to leave IPv4 to another one of them."""
    found: list[tuple[Any, ...]] = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    several = any(family == socket.AF_INET for family, *_ in found)
    return list(dict.fromkeys((family, address, several) for family, *_, address in found))


def _bound(family: int, address: tuple[str | int, ...], *, shared: bool, only: bool) -> socket.socket:
    own = socket.socket(family)
    try:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended are in nobody's way
        if shared:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        own.bind(address)
    except OSError:
        own.close()
        raise
    return own


def _by(port: int) -> str:
    """Say which processes listen on this port, where that can be seen."""
    sockets = set(_listening_inodes(port))
    holders = [int(path.name) for path in Path("/proc").glob("[0-9]*") if sockets & _inodes(path)]
    # A worker has its parent's.
    first = [pid for pid in holders if _parent(pid) not in holders]
    return "".join(f", by process {pid} ({_command(pid)})" for pid in sorted(first))


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                (
                    _,
                    local,
                    _,
                    state,
                    *_,
                ) = fields = line.split()
                if state == _LISTENS and int(local.rpartition(":")[2], 16) == port:
                    yield f"socket:[{fields[9]}]"


def _inodes(process: Path) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for entry in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(os.readlink(entry))  # noqa: PTH115 - no path, but the name of a socket
    return found


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return " ".join(words).strip()[:_MOST_CHARACTERS]
    return "its command cannot be seen"
