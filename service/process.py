"""One process that answers: the application under uvicorn. Its imports take a second, so that only this loads them."""

import gc
import logging
import sys
from functools import partial

import torch
import uvicorn

from service import logs
from service.access import Keyring
from service.app import create_app
from service.board import Place
from service.credentials import Credentials
from service.door import Door
from service.listening import Listeners
from service.protocol import Connection
from service.settings import Settings
from service.signing import PublicKey
from service.stopping import News, Server
from service.tls import Tls

log = logging.getLogger("calibrant")

# How long a thread that reads a large table may go on while the event loop waits for the interpreter. NumPy lets go of
# it for moments, and each begins the wait again: were this longer than from one to the next, the wait would not end.
_SWITCH_SECONDS = 0.00005


def serve(  # noqa: PLR0913, PLR0917 - what it is to serve, and what it hears from elsewhere
    settings: Settings,
    public_key: PublicKey | None,
    listeners: Listeners,
    credentials: Credentials,
    news: News,
    place: Place | None = None,
) -> None:
    """Answer until a signal says stop; raises SystemExit where the application cannot start, which was logged."""
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
    try:
        Server(config, news, tls, place).run(listeners)
    except KeyboardInterrupt:  # Ctrl-C, raised again after the requests in flight were answered
        return


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
