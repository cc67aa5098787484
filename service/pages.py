"""The page, the API's documentation, and what asks for a key: read once, so that no request's path reaches a file.

Knows no web framework. Their sources are in service/page/; Swagger UI is the one that fastapi-offline brings along.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Self

HTML = "text/html; charset=utf-8"
_CSS = "text/css; charset=utf-8"
_SCRIPT = "text/javascript; charset=utf-8"
_MEDIA_TYPES = {"html": HTML, "css": _CSS, "js": _SCRIPT}

_OWN = {
    "/": "index.html",
    "/docs": "docs.html",
    "/page/page.css": "page.css",
    "/page/page.js": "page.js",
    "/page/docs.js": "docs.js",
}
_SWAGGER = {
    "/page/swagger-ui.css": "swagger-ui.css",
    "/page/swagger-ui-bundle.js": "swagger-ui-bundle.js",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is answered."""

    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Pages:
    """The files by their paths, and the document that asks for a key, each with its headers.

    That document stands in for any path, and must not load what wants a key: its own style and script are in it. The
    page that it then becomes is put together from texts, so that its policy names each of them by its digest.
    """

    files: Mapping[str, File]
    headers: Mapping[str, str]
    sign_in: bytes
    sign_in_headers: Mapping[str, str]

    @classmethod
    def read(cls) -> Self:
        """From where they are installed."""
        own = resources.files("service") / "page"
        swagger = resources.files("fastapi_offline") / "static"
        files = {path: _file(name, (own / name).read_bytes()) for path, name in _OWN.items()}
        files |= {path: _file(name, (swagger / name).read_bytes()) for path, name in _SWAGGER.items()}
        style, script = files["/page/page.css"].content, (own / "sign_in.js").read_bytes()
        sign_in = (own / "sign_in.html").read_bytes()
        sign_in = sign_in.replace(b'<link rel="stylesheet" href="page/page.css">', b"<style>%b</style>" % style)
        sign_in = sign_in.replace(b'<script src="page/sign_in.js"></script>', b"<script>%b</script>" % script)
        scripts = [file.content for file in files.values() if file.media_type == _SCRIPT]
        styles = [file.content for file in files.values() if file.media_type == _CSS]
        return cls(
            files, _headers("'self'", "'self'"), sign_in, _headers(_digests(script, *scripts), _digests(*styles))
        )


def _file(name: str, content: bytes) -> File:
    return File(_MEDIA_TYPES[name.rpartition(".")[2]], content)


def _headers(scripts: str, styles: str) -> Mapping[str, str]:
    """What a page may load and do (https://www.w3.org/TR/CSP3/): this service's own, in no frame, and nothing else."""
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {"content-security-policy": policy, "referrer-policy": "no-referrer", "cache-control": "no-cache"}


def _digests(*texts: bytes) -> str:
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in texts)
