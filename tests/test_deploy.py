"""The files in deploy/ fit the service: a real Prometheus scrapes it, and knows every metric that they name."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from running import Running, publish, serving

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
NAME = re.compile(r"\b(?:calibrant|process)_[a-z_]+\b")
SECONDS = 60


def tool(name: str) -> str:
    """A program of Debian's package prometheus; without it the test is skipped, but not in CI."""
    found = shutil.which(name)
    if found is None:
        assert os.environ.get("CI") != "true", f"there is no {name}: CI must have Debian's package prometheus"
        pytest.skip(f"there is no {name} here: apt-get install prometheus")
    return found


def expressions() -> list[str]:
    """Every query of the dashboard and of the rules."""
    panels = json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][0]["rules"]
    return [target["expr"] for panel in panels for target in panel["targets"]] + [rule["expr"] for rule in rules]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service in which all has happened once: answers, an error, a swap, and a version that does not go live."""
    artifacts = tmp_path_factory.mktemp("artifacts")
    publish(artifacts)
    with serving(artifacts) as running:
        running.until_ready()
        publish(artifacts)
        running.until(lambda client: client.get("/models/thermometer").json()["default_version"] == "2")
        publish(artifacts)
        path = "/models/thermometer/versions/4"
        shutil.copytree(artifacts / "thermometer" / "1", artifacts / "thermometer" / "4")
        (artifacts / "thermometer" / "4" / "network.pt").write_bytes(b"spoiled")
        running.until(lambda client: client.get(path).json().get("state") == "failed")
        assert running.client.post("/predict", json={"fahrenheit": [50.0, 500.0]}).status_code == 200
        assert running.client.post("/predict", json={"fahrenheit": ["x"]}).status_code == 422
        yield running


@pytest.fixture(scope="module")
def prometheus(busy: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A Prometheus with the files of deploy/, that has scraped that service."""
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copy(DEPLOY / "alerts.yml", folder)
    config = (DEPLOY / "prometheus.yml").read_text()
    config = config.replace("localhost:8000", busy.url.removeprefix("http://")).replace("15s", "1s")
    (folder / "prometheus.yml").write_text(config)
    address = f"127.0.0.1:{free_port()}"
    flags = ["--config.file=prometheus.yml", f"--web.listen-address={address}", "--storage.tsdb.path=data"]
    with subprocess.Popen([tool("prometheus"), *flags], cwd=folder, stderr=subprocess.DEVNULL) as process:
        try:
            with httpx.Client(base_url=f"http://{address}/api/v1") as client:
                until(client, 'calibrant_version_state{state="failed"}')
                yield client
        finally:
            process.terminate()


def until(client: httpx.Client, query: str) -> None:
    """Ask until there is an answer."""
    deadline = time.monotonic() + SECONDS
    while not holds(client, query):
        assert time.monotonic() < deadline, f"Prometheus never knew {query}"
        time.sleep(0.1)


def holds(client: httpx.Client, query: str) -> bool:
    """Whether a query has an answer with anything in it."""
    try:
        answer = client.get("/query", params={"query": query})
    except httpx.TransportError:
        return False
    if answer.status_code == 503:  # it listens before it is ready
        return False
    return bool(answer.raise_for_status().json()["data"]["result"])


@pytest.mark.parametrize("name", sorted({name for text in expressions() for name in NAME.findall(text)}))
def test_every_metric_that_is_named_is_scraped(prometheus: httpx.Client, name: str) -> None:
    """By the dashboard or by a rule: a real Prometheus has it from a real service."""
    assert holds(prometheus, name)


def test_a_metric_that_there_is_not_is_not_scraped(prometheus: httpx.Client) -> None:
    """The test above can fail."""
    assert not holds(prometheus, "calibrant_no_such_thing_total")


@pytest.mark.parametrize("expression", expressions())
def test_every_query_can_be_answered(prometheus: httpx.Client, expression: str) -> None:
    """Grafana's variables filled in, Prometheus understands it."""
    query = expression.replace("$__rate_interval", "1m")
    query = re.sub(r"\$\w+", ".*", query)
    answer = prometheus.get("/query", params={"query": query})
    assert answer.json()["status"] == "success", answer.text


def test_every_rule_is_evaluated(prometheus: httpx.Client) -> None:
    """Without an error, and the version that does not go live is noticed."""
    until(prometheus, 'ALERTS{alertname="CalibrantVersionFailed"}')
    for rule in prometheus.get("/rules").json()["data"]["groups"][0]["rules"]:
        assert rule["health"] == "ok", rule


def test_what_it_scrapes_is_what_was_sent(prometheus: httpx.Client, busy: Running) -> None:
    """The number of rows, through all."""
    data = prometheus.get("/query", params={"query": "sum(calibrant_rows_total)"}).json()["data"]
    assert data["result"][0]["value"][1] == "2"


@pytest.mark.parametrize("command", ["check rules deploy/alerts.yml", "test rules tests/alerts_test.yml"])
def test_promtool_is_content_with_the_rules(command: str) -> None:
    """They are well formed; a well service fires none of them, and a sick one every one."""
    done = subprocess.run([tool("promtool"), *command.split()], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_well_formed() -> None:
    """By promtool, with the rules that it names."""
    command = [tool("promtool"), "check", "config", "deploy/prometheus.yml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_documented() -> None:
    """Both that it fires and that it does not; and what to do about it."""
    tested = yaml.safe_load((ROOT / "tests" / "alerts_test.yml").read_text())["tests"]
    page = (ROOT / "docs" / "operating.md").read_text()
    for rule in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][0]["rules"]:
        assert f"`{rule['alert']}`" in page
        for test in tested:
            assert rule["alert"] in {case["alertname"] for case in test["alert_rule_test"]}
