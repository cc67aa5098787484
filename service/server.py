"""Takes the port, and serves in this process or in several. What answers is loaded only where it answers."""

import logging
import logging.config
import os
import signal
from functools import partial

from service import extras, listening, logs, signals
from service.credentials import Credentials, Renewal
from service.settings import Settings, unknown_variables
from service.signing import PublicKey, resolve_public_key
from service.workers import Work, Workers

log = logging.getLogger("calibrant")


def run(settings: Settings) -> int:
    """Serve until a signal says stop; 1 when the address cannot be had.

    Raises ValueError for a missing device, and for keys or a certificate that cannot be used.
    """
    _check_device(settings.device)
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
    from service import process  # noqa: PLC0415 - takes a second; a port in use is known before

    log.info("one process, running on %s://%s", scheme, at)
    try:
        process.serve(settings, public_key, listeners[0], renewal.credentials, renewal.poll)
    except SystemExit:  # uvicorn's way to say that the application cannot start; it has logged why
        return 1
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
        from service import process  # noqa: PLC0415 - the parent needs nothing of it

        process.serve(settings, public_key, work.listeners, work.credentials, news, work.place)
    except Exception:
        log.critical("the process ends", exc_info=True)
        raise SystemExit(1) from None


def _check_device(device: str) -> None:
    """Raise ValueError where the device that was asked for is missing."""
    if device == "cuda":
        from service.predictor import resolve_device  # noqa: PLC0415 - takes a second, and is needed for this alone

        resolve_device(device)


def _check_traces() -> None:
    try:
        from service import tracing  # noqa: F401, PLC0415 - only to see whether it can be
    except ModuleNotFoundError:
        raise ValueError(f"traces: {extras.needed('tracing', 'traces')}") from None
