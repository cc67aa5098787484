"""The log: one JSON object a line on stderr, of ASCII characters only, whoever logs.

Modules use the standard library's logging, with the fields below as `extra`; nothing that a client sent is ever among
them but a request's id.
"""

import json
import logging
import math
import sys
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict

from service.alike import Alike

# What may stand beside a line's own timestamp, level, logger and event; uvicorn has others, which nobody needs.
FIELDS = ("request_id", "method", "route", "status", "seconds", "model", "version", "reason", "kind", "alike")

log = logging.getLogger("calibrant")


def config(level: str) -> dict[str, Any]:
    """For ``logging.config.dictConfig``, in each process."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": _formatter}},
        "filters": {"alike": {"()": _Foreign}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "filters": ["alike"],
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"handlers": ["stderr"], "level": level.upper()},
    }


def catch() -> None:
    """Have what Python itself would print, warnings and what ends the process, logged as well."""
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("the process ends", exc_info=(kind, error, trace))


class _Foreign(logging.Filter):
    """Lets one line a second and kind pass of loggers that are not ours: what makes them speak is often a client."""

    def __init__(self) -> None:
        super().__init__()
        self._alike = Alike()

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the line is logged; it then has the number of those that were left out."""
        if record.name.partition(".")[0] == log.name:
            return True
        alike = self._alike.left_out(_kind(record))
        if alike:
            record.alike = alike
        return alike is not None


def _kind(record: logging.LogRecord) -> tuple[object, ...]:
    """Where in the code the line comes from, and of which error it is."""
    error = record.exc_info[0] if record.exc_info else None
    if record.name == "py.warnings":  # all of them come from one place; their text begins with their own
        return (record.name, *record.getMessage().split(":", 2)[:2])
    return record.name, record.pathname, record.lineno, error


def _formatter() -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(allow=FIELDS),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("event"),
            _line,
        ],
    )


def _line(_: object, __: str, event: EventDict) -> str:
    first = ("timestamp", "level", "logger", "event")
    ordered = {key: event[key] for key in first} | dict(event)
    return json.dumps({key: _plain(value) for key, value in ordered.items()}, ensure_ascii=True)


def _plain(value: object) -> object:
    """A value that JSON has; text without lone surrogates, which it has not."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode()
