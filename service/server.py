"""Runs the application under uvicorn, in this process or in several."""

import gc
import logging
import ssl
import sys
from functools import partial
from pathlib import Path

import torch
import uvicorn

from service import extras, logs
from service.access import Access
from service.app import create_app
from service.door import Door
from service.predictor import resolve_device
from service.protocol import Connection
from service.settings import Settings
from service.signing import PublicKey, resolve_public_key
from service.stopping import Server
from service.workers import Workers

# How long a thread that reads a large table may go on while the event loop waits for the interpreter.
_SWITCH_SECONDS = 0.0005


def run(settings: Settings) -> int:
    """Serve until a signal says stop; 1 when the address cannot be had.

    Raises ValueError for a missing device, and for keys or a certificate that cannot be used.
    """
    resolve_device(settings.device)
    _check_certificate(settings)
    if settings.traces:
        _check_traces()
    # Once, for all workers: one that is replaced later has the same keys, whatever became of the files.
    public_key = resolve_public_key(settings.public_key)
    access = Access.read(settings.api_keys_file, settings.admin_keys_file)
    config = _config(settings, public_key, access)
    logs.catch()
    if settings.workers > 1:
        return _run_workers(config)
    try:
        Server(config).run()
    except SystemExit:  # uvicorn's way to say that it could not listen; it has logged why
        return 1
    except KeyboardInterrupt:  # Ctrl-C, raised again after the requests in flight were answered
        return 0
    return 0


def _config(settings: Settings, public_key: PublicKey | None, access: Access) -> uvicorn.Config:
    return uvicorn.Config(
        partial(_application, settings, public_key, access),
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
        headers=[("X-Content-Type-Options", "nosniff")],
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_timeout_seconds,
        timeout_worker_healthcheck=60,
    )


def _check_traces() -> None:
    try:
        from service import tracing  # noqa: F401, PLC0415 - only to see whether it can be
    except ModuleNotFoundError:
        raise ValueError(f"traces: {extras.needed('tracing', 'traces')}") from None


def _run_workers(config: uvicorn.Config) -> int:
    try:
        workers = Workers(config)
    except OSError as error:
        logging.getLogger("calibrant").error("cannot listen on %s:%d: %s", config.host, config.port, error)
        return 1
    workers.run()
    return int(workers.failed)


def _check_certificate(settings: Settings) -> None:
    """Raise ValueError where uvicorn could not use it; each process reads it for itself."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if (certificate is None) != (key is None):
        raise ValueError("tls_certificate and tls_key: one is of no use without the other")
    if certificate is not None:
        try:  # with an empty password, so that nobody is asked for one
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, "")
        except OSError as error:
            why = error.reason if isinstance(error, ssl.SSLError) else error.strerror
            raise ValueError(f"tls_certificate {certificate} and tls_key {key} cannot be used: {why}") from error


def _application(
    settings: Settings,
    public_key: PublicKey | None,
    access: Access,
    snapshot: Path | None = None,
    *,
    loads_first: bool = False,
) -> Door:
    """What each process runs, made there."""
    logs.catch()
    # The networks are small: a second thread costs more than it brings, and would take the event loop's core.
    torch.set_num_threads(1)
    door = create_app(settings, public_key, access, snapshot, loads_first=loads_first)
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # full collections would walk torch's heap, and make a tail of slow answers
    gc.enable()
    return door
