"""The API's own documentation, the probes, and HEAD."""

import re

import httpx
import pytest

from running import Running


def test_the_document_has_examples_from_the_default_model(service: Running) -> None:
    """The example in it is a request that works."""
    document = service.client.get("/openapi.json").json()
    schema = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["fahrenheit"]
    assert service.client.post("/predict", json=schema["example"]).status_code == 200


def test_the_documentation_page_needs_nothing_from_elsewhere(service: Running) -> None:
    """Everything that it loads comes from the service."""
    page = service.client.get("/docs").text
    sources = set(re.findall(r'(?:src|href)="([^"]+)"', page)) - {"data:,"}
    assert sources
    for source in sources:
        assert ":" not in source
        assert service.client.get(f"/{source}").status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/page/page.css", "/page/page.js", "/page/swagger-ui-bundle.js"])
def test_pages_have_the_headers_of_a_security_review(service: Running, path: str) -> None:
    """No script but the service's own files, no frame, no sniffing, no referrer."""
    response = service.client.get(path)
    assert response.status_code == 200
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert not re.search(rb"<script>|<style|\sstyle=|\son[a-z]+=", response.content if path in {"/", "/docs"} else b"")


def test_no_response_is_sniffed(service: Running) -> None:
    """Through every door, and where there is nothing."""
    responses = [service.client.post("/predict", json={"fahrenheit": [50.0]}) for _ in range(3)]
    responses += [service.client.get(path) for path in ("/", "/models", "/nope", "/v2/nope")]
    for response in responses:
        assert response.headers.get_list("x-content-type-options") == ["nosniff"]


@pytest.mark.parametrize(
    "path",
    ["/page/", "/page/../access.py", "/page/..%2f..%2faccess.py", "/page/%2e%2e/access.py", "/page/page.py",
     "/page//etc/passwd", "/page/sign_in.html", "/page/page.css%00.js", "/static-offline-docs/favicon.png"],
)  # fmt: skip
def test_no_path_reaches_a_file(service: Running, path: str) -> None:
    """What is not one of the page's files is nothing."""
    request = httpx.Request("GET", httpx.URL(service.url).copy_with(raw_path=path.encode()))
    assert service.client.send(request).status_code == 404


def test_head_is_get_without_a_body(service: Running) -> None:
    """For every path that has a GET, and no other."""
    for path in ("/livez", "/readyz", "/models", "/parameters"):
        head, get = service.client.head(path), service.client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == get.headers["content-length"]
    assert service.client.head("/predict").status_code == 405
