"""Runs the application under uvicorn, in this process or in several."""

import gc
import logging
from functools import partial
from pathlib import Path

import torch
import uvicorn

from service import logs
from service.app import create_app
from service.door import Door
from service.predictor import resolve_device
from service.protocol import Connection
from service.settings import Settings
from service.signing import PublicKey, resolve_public_key
from service.workers import Workers


def run(settings: Settings) -> int:
    """Serve until a signal says stop; 1 when the address cannot be had. Raises ValueError for no such device or key."""
    resolve_device(settings.device)
    if settings.traces:
        _check_traces()
    # Once, for all workers: one that is replaced later has the same key, whatever became of the file.
    public_key = resolve_public_key(settings.public_key)
    config = uvicorn.Config(
        partial(_application, settings, public_key),
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http=Connection,
        ws="none",
        interface="asgi3",
        log_config=logs.config(settings.log_level),
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_timeout_seconds,
        timeout_worker_healthcheck=60,
    )
    logs.catch()
    if settings.workers > 1:
        return _run_workers(config)
    try:
        uvicorn.Server(config).run()
    except SystemExit:  # uvicorn's way to say that it could not listen; it has logged why
        return 1
    return 0


def _check_traces() -> None:
    try:
        from service import tracing  # noqa: F401, PLC0415 - only to see whether it can be
    except ModuleNotFoundError as error:
        raise ValueError(f"traces: they need the extra `calibrant[traces]`, and there is no {error.name}") from None


def _run_workers(config: uvicorn.Config) -> int:
    try:
        workers = Workers(config)
    except OSError as error:
        logging.getLogger("calibrant").error("cannot listen on %s:%d: %s", config.host, config.port, error)
        return 1
    workers.run()
    return int(workers.failed)


def _application(settings: Settings, public_key: PublicKey | None, snapshot: Path | None = None) -> Door:
    """What each process runs, made there."""
    logs.catch()
    # The networks are small: a second thread costs more than it brings, and would take the event loop's core.
    torch.set_num_threads(1)
    door = create_app(settings, public_key, snapshot)
    gc.collect()
    gc.freeze()  # full collections would walk torch's heap, and make a tail of slow answers
    gc.enable()
    return door
