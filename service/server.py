"""Runs the application under uvicorn, in this process or in several."""

import gc
import logging
import sys
from functools import partial

import torch
import uvicorn

from service.app import create_app
from service.door import Door
from service.predictor import resolve_device
from service.protocol import Connection
from service.settings import Settings
from service.stopping import Server
from service.workers import Workers


def run(settings: Settings) -> int:
    """Serve until a signal says stop; 1 when the address cannot be had. Raises ValueError for a missing device."""
    resolve_device(settings.device)
    _start_logging(settings.log_level)
    if settings.workers > 1:
        return _run_workers(settings)
    try:
        Server(_config(settings)).run()
    except SystemExit:  # uvicorn's way to say that it could not listen; it has logged why
        return 1
    except KeyboardInterrupt:  # Ctrl-C, raised again after the requests in flight were answered
        return 0
    return 0


def _run_workers(settings: Settings) -> int:
    try:
        # Whoever connects to a worker in the place of one that served waits, and is not told that it loads.
        workers = Workers(_config(settings), _config(settings, loads_first=True))
    except OSError as error:
        logging.getLogger("calibrant").error("cannot listen on %s:%d: %s", settings.host, settings.port, error)
        return 1
    workers.run()
    return int(workers.failed)


def _config(settings: Settings, *, loads_first: bool = False) -> uvicorn.Config:
    return uvicorn.Config(
        partial(_application, settings, loads_first=loads_first),
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http=Connection,
        ws="none",
        interface="asgi3",
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_timeout_seconds,
        timeout_worker_healthcheck=60,
    )


def _application(settings: Settings, *, loads_first: bool) -> Door:
    """What each process runs, made there."""
    _start_logging(settings.log_level)
    # The networks are small: a second thread costs more than it brings, and would take the event loop's core.
    torch.set_num_threads(1)
    door = create_app(settings, loads_first=loads_first)
    gc.collect()
    gc.freeze()  # full collections would walk torch's heap, and make a tail of slow answers
    gc.enable()
    return door


def _start_logging(level: str) -> None:
    logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
