"""Runs the application under uvicorn."""

import gc
import logging
import sys
from functools import partial

import torch
import uvicorn

from service.app import create_app
from service.protocol import Connection, Shared
from service.settings import Settings


def run(settings: Settings) -> int:
    """Serve until a signal says stop; 1 when the address cannot be had. Raises ValueError for a missing device."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    # The networks are small: a second thread costs more than it brings, and would take the event loop's core.
    torch.set_num_threads(1)
    door = create_app(settings)
    config = uvicorn.Config(
        door,
        host=settings.host,
        port=settings.port,
        # uvicorn calls it as it calls its own class.
        http=partial(Connection, door=door, shared=Shared()),  # type: ignore[arg-type]
        ws="none",
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_timeout_seconds,
    )
    gc.collect()
    gc.freeze()  # full collections would walk torch's heap, and make a tail of slow answers
    try:
        uvicorn.Server(config).run()
    except SystemExit:  # uvicorn's way to say that it could not listen; it has logged why
        return 1
    return 0
