"""A table in any form in, an answer in any form out: what the headers say of both, and who reads and writes them.

What may take more than a moment does so on a thread. The forms are in service/tables/.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from service import extras, media
from service.problems import NotAcceptable, UnsupportedMedia
from service.served import Served
from service.tables import csv
from service.tables.json import SMALL_BODY_BYTES
from service.tables.table import Table, Values

_FEW_BYTES = 4096
_NO_ARROW = f"this service cannot read or write Arrow: {extras.needed('Arrow', 'arrow')}"


@dataclass(frozen=True, slots=True)
class Exchange:
    """The media types of a request's body and of its answer."""

    sent: str
    wanted: str

    def is_large(self, content: bytes) -> bool:
        """Return whether `read` takes more than a moment; JSON that does not is the event loop's to read."""
        return len(content) > (SMALL_BODY_BYTES if self.sent == media.JSON else _FEW_BYTES)

    def read(self, served: Served, content: bytes) -> Table:
        """Return a body as a checked table; raises Problem."""
        columns = served.columns
        if self.sent == media.JSON:
            return Table(columns.from_json(content), columns.names)
        form = csv if self.sent == media.CSV else _arrow()
        table: Table = form.read(content, columns.names, columns.max_rows)
        return table

    def write(self, table: Table, added: Mapping[str, Values]) -> bytes:
        """The table with these columns behind its own, as CSV or Arrow; raises Problem."""
        form = csv if self.wanted == media.CSV else _arrow()
        written: bytes = form.write(table, added)
        return written


async def agree(headers: Mapping[bytes, bytes]) -> Exchange:
    """What the headers ask for; raises UnsupportedMedia or NotAcceptable."""
    sent = media.body_form(headers.get(b"content-type"), headers.get(b"content-encoding"))
    wanted = media.negotiate(headers.get(b"accept"), media.TABLES)
    if media.ARROW in {sent, wanted}:
        try:
            await asyncio.to_thread(_arrow)
        except ImportError:
            wanted = _without_arrow(sent, headers.get(b"accept"))
    return Exchange(sent, wanted)


def _without_arrow(sent: str, accept: bytes | None) -> str:
    """The form of the answer where pyarrow is not installed."""
    if sent == media.ARROW:
        raise UnsupportedMedia(_NO_ARROW, headers={"accept-post": f"{media.JSON}, {media.CSV}"})
    try:
        return media.negotiate(accept, [media.JSON, media.CSV])
    except NotAcceptable as error:
        raise NotAcceptable(f"{error.detail}; {_NO_ARROW}") from None


def _arrow() -> ModuleType:
    """Imported here, as pyarrow is an extra and takes a while; raises ImportError where it is not installed."""
    from service.tables import arrow  # noqa: PLC0415 - as above

    return arrow
