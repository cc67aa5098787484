"""Imports point one way, as the tables here say; they are the drawing of the structure that docs/structure.md shows."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A module may import those above it, and none beside or below.
SERVICE_LAYERS = [
    {
        "service.directory",
        "service.lacks",
        "service.extras",
        "service.column_names",
        "service.interface",
        "service.pieces",
    },
    {"service.archive.error", "service.whole_number"},
    {"service.signing", "service.archive.zip_reader", "service.contract"},
    {"service.manifest", "service.strict_json", "service.archive.calls", "service.archive.pickled"},
    {"service.layout", "service.archive.script", "service.report"},
    {"service.archive.members"},
    {"service.artifact", "service.listing", "service.settings", "service.access", "service.problems"},
    {"service.outputs"},
    {"service.tls", "service.board", "service.signals", "service.alike", "service.listening", "service.streams"},
    {"service.cost", "service.entry", "service.executions", "service.counts"},
    {"service.straight", "service.cuda", "service.order_statistics"},
    {"service.engine", "service.features", "service.intervals"},
    {"service.snapshots", "service.tables.table", "service.tables.message", "service.budget"},
    {"service.tables.json_blocks"},
    {"service.tables.json", "service.tables.csv", "service.tables.arrow", "service.interval_network"},
    {"service.media", "service.predictor", "service.body", "service.request_id", "service.pages", "service.head"},
    {"service.trial"},
    {"service.metrics", "service.exposition", "service.logs", "service.request_log"},
    {
        "service.v2.documents",
        "service.v2.data_arrays",
        "service.v2.parser",
        "service.v2.signature",
        "service.v2.error",
    },
    {"service.v2.tensors"},
    {"service.v2.request", "service.large_tables"},
    {"service.v2.response"},
    {"service.credentials"},
    {"service.served"},
    {"service.catalog"},
    {"service.loading", "service.shared"},
    {"service.store"},
    {"service.resolve", "service.predict", "service.exchange", "service.following"},
    {"service.door", "service.scrape"},
    {"service.routes.chosen", "service.routes.query", "service.openapi"},
    {"service.routes.models", "service.routes.parameters", "service.routes.predictions", "service.routes.probes"},
    {"service.routes.v2", "service.routes.page"},
    {"service.routes.v2_administration", "service.routes.v2_models", "service.routes.v2_statistics"},
    {"service.plain", "service.http1", "service.tracing"},
    {"service.bounded"},
    {"service.app", "service.protocol", "service.stopping"},
    {"service.workers"},
    {"service.process"},
    {"service.server", "service.check"},
    {"service.client.errors", "service.client.csv_rows"},
    {"service.client.answers", "service.client.transport", "service.client.versions"},
    {"service.client.tables"},
    {"service.client.forms"},
    {"service.client.prediction"},
    {"service.client.asynchronous"},
    {"service.client.blocking"},
    {"service.client", "service.client.command"},
    {"service.__main__"},
]
TRAINING_LAYERS = [
    {"training.errors", "training.flags", "training.bounds", "training.network", "training.sample", "training.streams"},
    {"training.readings", "training.loop", "training.intervals", "training.stack", "training.svg", "training.versions"},
    {"training.dataset", "training.gradient_descent", "training.left_out", "training.publish", "training.evaluate"},
    {"training.folds", "training.levenberg_marquardt", "training.grid", "training.record", "training.signing"},
    {"training.minibatch", "training.textbook", "training.pictures", "training.sweep", "training.tensorboard"},
    {"training.least_squares", "training.neurons"},
    {"training.choice", "training.report"},
    {"training.automatic"},
    {"training.recipes"},
    {"training.fit"},
    {"training.compare"},
    {"training.__main__"},
]
# What no module but these may import.
KEPT_IN = {
    "fastapi": {"service.app", "service.openapi", "service.routes", "service.tracing"},
    "pyarrow": {"service.tables.arrow", "service.client.forms"},
    "uvicorn": {"service.process", "service.stopping", "service.http1", "service.bounded", "service.protocol"},
    "httpx": {"service.client"},
    "opentelemetry": {"service.tracing"},
    "prometheus_client": {"service.exposition"},
    "pydantic_settings": {"service.settings"},
    "cryptography": {"service.signing"},
    "structlog": {"service.logs"},
}


def modules(package: str) -> dict[str, set[str]]:
    """Every module of a package by its dotted name, with the dotted names it imports."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = set(imports(path))
    return found


def imports(path: Path) -> list[str]:
    """The dotted names that a file imports, wherever in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} has a relative import"
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def test_service_never_imports_training() -> None:
    """The image of the service holds no training code."""
    for name, imported in modules("service").items():
        assert not [target for target in imported if target.split(".")[0] == "training"], name


def test_training_imports_the_artifact_format_and_nothing_else_of_service() -> None:
    """The reader owns the contract that it accepts."""
    for name, imported in modules("training").items():
        of_service = {target for target in imported if target.split(".")[0] == "service"} - {"service"}
        assert all(target.startswith("service.artifact") for target in of_service), name


@pytest.mark.parametrize(
    ("layers", "packages"),
    [
        (SERVICE_LAYERS, {"service", "service.archive", "service.routes", "service.tables", "service.v2"}),
        (TRAINING_LAYERS, {"training"}),
    ],
    ids=["service", "training"],
)
def test_imports_point_one_way(layers: list[set[str]], packages: set[str]) -> None:
    """Every module is in the drawing, and imports only what stands above it."""
    layer = {name: depth for depth, names in enumerate(layers) for name in names}
    found = modules(min(packages))
    assert set(found) - packages == set(layer)
    for name, imported in found.items():
        for target in imported & set(layer):
            assert layer[target] < layer[name], f"{name} imports {target}"


@pytest.mark.parametrize("library", KEPT_IN)
def test_libraries_stay_at_their_edge(library: str) -> None:
    """The engine knows no web framework, and the application no server."""
    for name, imported in modules("service").items():
        if library in {target.split(".")[0] for target in imported}:
            assert any(name.startswith(place) for place in KEPT_IN[library]), f"{name} imports {library}"


def test_the_engine_needs_no_more_than_numpy() -> None:
    """It, its entries and their outputs: the standard library, arrays, and how numbers are written."""
    found = {
        target.split(".")[0]
        for name in ("engine", "entry", "outputs")
        for target in imports(ROOT / "service" / f"{name}.py")
    }
    assert {name for name in found if name not in sys.stdlib_module_names} == {"numpy", "orjson", "service"}
