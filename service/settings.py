"""Every setting of the service: a flag, an environment variable, and a row in docs/settings.md."""

import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

ENVIRONMENT_PREFIX = "CALIBRANT_"
# As browsers write them (RFC 6454, section 6.2): no path, no slash at the end.
_ORIGINS = r"^(\*|https?://[^/,\s]+(,https?://[^/,\s]+)*)$"

# Of `python -m service predict`.
_OTHERS = {"CALIBRANT_API_KEY"}
# What Kubernetes sets in every container for a Service whose name begins with calibrant.
_KUBERNETES = re.compile(r".*_SERVICE_(HOST|PORT(_.+)?)|.*_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?")


class Settings(BaseSettings):
    """What an operator may choose; a value out of its bounds raises pydantic's ValidationError."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="forbid")

    artifacts: Annotated[Path, Field(description="folder that training publishes to")] = Path("artifacts")
    default_model: Annotated[
        str | None, Field(description="model of /predict, instead of the one that was published first")
    ] = None
    device: Annotated[
        Literal["auto", "cpu", "cuda"], Field(description="where networks run; auto takes CUDA where there is one")
    ] = "auto"
    public_key: Annotated[
        Path | None,
        Field(description="Ed25519 public key in PEM; with it, only versions that its owner signed are loaded"),
    ] = None
    refresh_seconds: Annotated[float, Field(gt=0, le=2, description="how often the folder is looked at")] = 1.0

    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on; 0 takes a free one")] = 8000
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="the least severe line that is logged")
    ] = "info"
    access_log: Annotated[bool, Field(description="log a line for each request")] = False
    traces: Annotated[
        bool, Field(description="send OpenTelemetry traces; needs the extra traces, and takes no shortcut to a model")
    ] = False
    workers: Annotated[int, Field(gt=0, description="processes that share the port")] = 1
    worker_timeout_seconds: Annotated[
        float,
        Field(ge=1, description="longest that the event loop of one of several may stand still; it is then replaced"),
    ] = 10.0
    fast_door: Annotated[bool, Field(description="answer plain predictions straight from their connection")] = True
    head_timeout_seconds: Annotated[float, Field(gt=0, description="longest time for a request's headers")] = 10.0
    body_timeout_seconds: Annotated[float, Field(gt=0, description="longest time for its body after that")] = 60.0
    keep_alive_seconds: Annotated[int, Field(gt=0, description="how long an idle connection is kept")] = 75
    answer_timeout_seconds: Annotated[
        float, Field(gt=0, description="longest time for a client to take its answer")
    ] = 60.0
    lame_duck_seconds: Annotated[
        float, Field(ge=0, description="how long it serves on as not ready after SIGTERM, before it stops")
    ] = 0.0
    shutdown_timeout_seconds: Annotated[int, Field(gt=0, description="longest wait for requests after that")] = 10

    max_body_bytes: Annotated[int, Field(gt=0, description="largest request body")] = 16 * 2**20
    max_head_bytes: Annotated[int, Field(gt=0, description="largest request line and headers")] = 32 * 2**10
    max_rows: Annotated[int, Field(gt=0, description="most rows in one request")] = 1_000_000
    max_requests: Annotated[int, Field(gt=0, description="most requests at work in one process; probes go first")] = (
        4096
    )
    max_bytes_in_flight: Annotated[
        int,
        Field(gt=0, description="most bytes of bodies and unread answers in one process; more bodies wait, unread"),
    ] = 128 * 2**20
    max_queue_rows: Annotated[int, Field(gt=0, description="most rows that wait for one version")] = 4_000_000
    request_timeout_ms: Annotated[float, Field(gt=0, description="deadline of a request that names none")] = 10_000.0
    max_loop_hold_ms: Annotated[
        float, Field(gt=0, description="longest that one batch may hold the event loop; longer work goes to a thread")
    ] = 1.0
    max_wait_ms: Annotated[float, Field(ge=0, description="how long a batch waits for more requests")] = 0.0

    api_keys_file: Annotated[
        Path | None, Field(description="hashes of the keys of which all but the probes wants one; everybody without it")
    ] = None
    admin_keys_file: Annotated[
        Path | None, Field(description="hashes of the keys of who may load and unload models; nobody without it")
    ] = None
    tls_certificate: Annotated[Path | None, Field(description="certificate chain in PEM, for HTTPS")] = None
    tls_key: Annotated[Path | None, Field(description="its private key in PEM")] = None
    cors_origins: Annotated[
        str | None,
        Field(
            pattern=_ORIGINS, description="origins whose pages may ask from a browser, separated by commas; * for all"
        ),
    ] = None

    @field_validator("max_bytes_in_flight")
    @classmethod
    def _holds_a_body(cls, value: int, info: ValidationInfo) -> int:
        largest: int = info.data.get("max_body_bytes", 0)
        if value < largest:
            raise ValueError(f"must be at least max_body_bytes, which is {largest}")
        return value

    @field_validator("port", mode="before")
    @classmethod
    def _check_port(cls, value: object) -> object:
        if isinstance(value, str) and "://" in value:
            raise PydanticCustomError(
                "port",
                "CALIBRANT_PORT is {value}, as Kubernetes sets it for a Service that is named calibrant: "
                "give the Service another name, or the pod `enableServiceLinks: false`, or the command `--port`",
                {"value": value},
            )
        return value


def unknown_variables(names: Iterable[str]) -> Iterator[str]:
    """Say which variables of the environment look like settings and are none, and which settings they may mean."""
    settings = {field.upper() for field in Settings.model_fields}
    for name in sorted(names):
        upper = name.upper()
        own = upper.removeprefix(ENVIRONMENT_PREFIX)
        if own == upper or own in settings or upper in _OTHERS or _KUBERNETES.fullmatch(upper):
            continue
        nearest = difflib.get_close_matches(own, settings, 1)
        hint = f"did you mean {ENVIRONMENT_PREFIX}{nearest[0]}?" if nearest else "docs/settings.md has all settings"
        yield f"the environment variable {name} is no setting, and is ignored: {hint}"
