"""The API's own documentation, the probes, and HEAD."""

import re

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
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert sources
    for source in sources:
        assert source.startswith("/")
        assert service.client.get(source).status_code == 200


def test_head_is_get_without_a_body(service: Running) -> None:
    """For every path that has a GET, and no other."""
    for path in ("/livez", "/readyz", "/models", "/parameters"):
        head, get = service.client.head(path), service.client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == get.headers["content-length"]
    assert service.client.head("/predict").status_code == 405
