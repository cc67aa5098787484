"""Runs the application under uvicorn, in this process or in several."""

import gc
import logging
import logging.config
import os
import signal
import sys
from functools import partial

import torch
import uvicorn

from service import extras, listening, logs, signals
from service.access import Keyring
from service.app import create_app
from service.board import Place
from service.credentials import Credentials, Renewal
from service.door import Door
from service.listening import Listeners
from service.predictor import resolve_device
from service.protocol import Connection
from service.settings import Settings, unknown_variables
from service.signing import PublicKey, resolve_public_key
from service.stopping import News, Server
from service.tls import Tls
from service.workers import Work, Workers

log = logging.getLogger("calibrant")

# How long a thread that reads a large table may go on while the event loop waits for the interpreter.
_SWITCH_SECONDS = 0.0005


def run(settings: Settings) -> int:
    """Serve until a signal says stop; 1 when the address cannot be had.

    Raises ValueError for a missing device, and for keys or a certificate that cannot be used.
    """
    resolve_device(settings.device)
    if settings.traces:
        _check_traces()
    # Once, for all workers: one that is replaced later has the same key, whatever became of the file.
    public_key = resolve_public_key(settings.public_key)
    renewal = Renewal(settings)
    signal.signal(signal.SIGHUP, renewal.ask)
    logging.config.dictConfig(logs.config(settings.log_level))
    logs.catch()
    for line in unknown_variables(os.environ):
        log.warning(line)
    try:
        listeners = listening.listen(settings.host, settings.port, settings.workers)
    except OSError as error:
        why = error.strerror or str(error)
        log.error("cannot listen on %s:%d: %s", settings.host, settings.port, why[:1].lower() + why[1:])
        return 1
    scheme, at = "https" if renewal.credentials.certificate else "http", listening.shown(listeners[0])
    if settings.workers > 1:
        workers = Workers(settings, listeners, renewal, partial(_work, settings, public_key))
        log.info("%d workers, running on %s://%s", settings.workers, scheme, at)
        return workers.run()
    log.info("one process, running on %s://%s", scheme, at)
    try:
        return _serve(_server(settings, public_key, renewal.credentials, renewal.poll), listeners[0])
    except SystemExit:  # uvicorn's way to say that the application cannot start; it has logged why
        return 1


def _serve(server: Server, listeners: Listeners) -> int:
    try:
        server.run(listeners)
    except KeyboardInterrupt:  # Ctrl-C, raised again after the requests in flight were answered
        return 0
    return 0


def _work(settings: Settings, public_key: PublicKey | None, work: Work) -> None:
    """Be one of several processes."""
    signals.hold_back()
    signals.end_with(work.parent)

    def news() -> Credentials | None:
        try:
            return work.news.recv() if work.news.poll() else None
        except EOFError:  # the parent ends
            return None

    try:
        _serve(_server(settings, public_key, work.credentials, news, work.place), work.listeners)
    except Exception:
        log.critical("the process ends", exc_info=True)
        raise SystemExit(1) from None


def _server(
    settings: Settings, public_key: PublicKey | None, credentials: Credentials, news: News, place: Place | None = None
) -> Server:
    tls = Tls(credentials.certificate) if credentials.certificate else None
    config = uvicorn.Config(
        partial(_application, settings, public_key, Keyring(credentials.access), place),
        factory=True,
        http=Connection,
        ws="none",
        interface="asgi3",
        log_config=logs.config(settings.log_level),
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        headers=[("X-Content-Type-Options", "nosniff")],
        ssl_context_factory=tls.context if tls else None,
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_timeout_seconds,
    )
    return Server(config, news, tls, place)


def _check_traces() -> None:
    try:
        from service import tracing  # noqa: F401, PLC0415 - only to see whether it can be
    except ModuleNotFoundError:
        raise ValueError(f"traces: {extras.needed('tracing', 'traces')}") from None


def _application(settings: Settings, public_key: PublicKey | None, keyring: Keyring, place: Place | None) -> Door:
    """What each process runs, made there."""
    logs.catch()
    # The networks are small: a second thread costs more than it brings, and would take the event loop's core.
    torch.set_num_threads(1)
    door = create_app(settings, public_key, keyring, place)
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # full collections would walk torch's heap, and make a tail of slow answers
    gc.enable()
    return door
