"""Runs the application under uvicorn."""

import gc
import logging
import sys

import torch
import uvicorn

from service.app import create_app
from service.settings import Settings


def run(settings: Settings) -> int:
    """Serve until a signal says stop; 1 when the address cannot be had. Raises ValueError for a missing device."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    # The networks are small: a second thread costs more than it brings, and would take the event loop's core.
    torch.set_num_threads(1)
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=settings.shutdown_timeout_seconds,
    )
    gc.collect()
    gc.freeze()  # full collections would walk torch's heap, and make a tail of slow answers
    try:
        uvicorn.Server(config).run()
    except SystemExit:  # uvicorn's way to say that it could not listen; it has logged why
        return 1
    return 0
