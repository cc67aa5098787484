"""The manifest and the report are read strictly: each number has a range that makes sense, and fields agree."""

import copy
import hashlib
import json
import math
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from running import Running, publish, serving
from service import artifact
from spoiling import Change, refusal, replace, rewrite

PLACES: dict[str, tuple[Change, str]] = {
    "minimum above maximum": (
        lambda m: m["features"][0].update(minimum=1e9),
        "features.0: minimum 1000000000.0 is above maximum",
    ),
    "minimum beyond float32": (lambda m: m["features"][0].update(minimum=-3.5e38), "features.0.minimum: "),
    "maximum beyond float64": (lambda m: m["targets"][0].update(maximum=10**400), "targets.0.maximum: "),
    "a long unit": (lambda m: m["features"][0].update(unit="x" * 101), "features.0.unit: "),
    "an unprintable unit": (lambda m: m["features"][0].update(unit="a\nb"), "features.0.unit: has characters that"),
    "an unprintable name": (lambda m: m["features"][0].update(name="a\x00"), "features.0.name: has characters that"),
    "space around a name": (lambda m: m["features"][0].update(name=" a"), "features.0.name: has characters that"),
    "a long name": (lambda m: m["targets"][0].update(name="x" * 201), "targets.0.name: "),
    "a tolerance of everything": (
        lambda m: m["golden"].update(tolerance=[1e30]),
        "golden.tolerance.0: is above 1 % of ",
    ),
    "a tolerance beyond float32": (lambda m: m["golden"].update(tolerance=[1e308]), "golden.tolerance.0: "),
    "a tolerance too large by a hair": (lambda m: m["golden"].update(tolerance=[1.0]), "golden.tolerance.0: is above"),
    "golden inputs beyond float32": (lambda m: m["golden"]["inputs"][0].__setitem__(0, 1e39), "golden.inputs.0.0: "),
    "golden inputs far away": (
        lambda m: m["golden"]["inputs"][0].__setitem__(0, 1e6),
        "golden.inputs: one of features.0 is far outside the range seen in training",
    ),
    "golden outputs beyond float32": (lambda m: m["golden"]["outputs"][0].__setitem__(0, 1e39), "golden.outputs.0.0: "),
    "too many golden cases": (lambda m: m["golden"].update(inputs=[[1.0]] * 1001), "golden.inputs: "),
    "a seed of 31 digits": (lambda m: m["training"].update(seed=10**30), "training.seed: "),
    "a negative seed": (lambda m: m["training"].update(seed=-1), "training.seed: "),
    "a seed that is no integer": (lambda m: m["training"].update(seed=1.0), "training.seed: "),
    "no rows": (lambda m: m["training"]["data"].update(rows=0), "training.data.rows: "),
    "rows without end": (lambda m: m["training"]["data"].update(rows=10**30), "training.data.rows: "),
    "a file without a name": (lambda m: m["training"]["data"].update(file=""), "training.data.file: "),
    "a recipe of NaN": (lambda m: m["training"]["recipe"].update(learning_rate=math.nan), "training.recipe."),
    "a recipe of infinity": (lambda m: m["training"]["recipe"].update(learning_rate=math.inf), "training.recipe."),
    "a huge number in a recipe": (lambda m: m["training"]["recipe"].update(epochs=10**30), "training.recipe."),
    "a huge text in a recipe": (lambda m: m["training"]["recipe"].update(optimizer="x" * 10**6), "training.recipe."),
    "a recipe of many": (lambda m: m["training"].update(recipe=dict.fromkeys(map(str, range(65)), 1)), "training.rec"),
    "an unprintable key": (lambda m: m["training"]["recipe"].update({"a\nb": 1}), "'training.recipe.a\\nb"),
    "an environment of many": (
        lambda m: m["training"].update(environment=dict.fromkeys(map(str, range(65)), "1")),
        "training.environment: ",
    ),
    "a long environment": (lambda m: m["training"]["environment"].update(torch="x" * 101), "training.environment."),
    "an infinite loss": (lambda m: m["training"]["losses"].update(training=math.inf), "training.losses.training: "),
    "no date": (lambda m: m.update(created="yesterday"), "created: is not an ISO date and time with an offset"),
    "a date alone": (lambda m: m.update(created="2026-11-27"), "created: is not an ISO date and time with an offset"),
    "a date without an offset": (lambda m: m.update(created="2026-11-27T10:00:00"), "created: is not an ISO date"),
    "a 13th month": (lambda m: m.update(created="2026-13-27T10:00:00+00:00"), "created: month must be in 1..12"),
    "a shape of nothing": (lambda m: m["parameters"][0].update(shape=[0, 8]), "parameters.0.shape.0: "),
    "a negative shape": (lambda m: m["parameters"][0].update(shape=[-8, 1]), "parameters.0.shape.0: "),
    "many dimensions": (lambda m: m["parameters"][0].update(shape=[1] * 9), "parameters.0.shape: "),
    "a parameter twice": (lambda m: m["parameters"].append(m["parameters"][0]), "parameters: two have the same name"),
    "a parameter's odd name": (lambda m: m["parameters"][0].update(name="__metadata__"), "parameters.0.name: "),
    "many parameters": (lambda m: m.update(parameters=m["parameters"][:1] * 1001), "parameters: "),
    "many files": (
        lambda m: m["files"].update({f"{at}.svg": m["files"]["report.json"] for at in range(63)}),
        "files: ",
    ),
    "files of 4 GiB and more": (
        lambda m: m["files"].update({f"{at}.svg": {"sha256": "0" * 64, "size": 2**31} for at in range(2)}),
        "files: have more than 4294967296 bytes together",
    ),
    "a huge network": (
        lambda m: m["files"]["network.pt"].update(size=2**30),
        "files.network.pt.size: is more than 536870912 bytes",
    ),
    "a huge report": (lambda m: m["files"]["report.json"].update(size=2**30), "files.report.json.size: is more than"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_manifest_without_sense_is_refused_with_the_place(name: str, version: Path) -> None:
    """Each number, text and list has limits, and the message says which one is beyond its own."""
    change, place = PLACES[name]
    rewrite(version, "manifest.json", change)
    assert refusal(version).startswith(f"manifest.json: {place}")


REPORTS: dict[str, tuple[Change, str]] = {
    "other rows": (lambda r: r["rows"].__setitem__(0, 1), "rows: are not ascending"),
    "a row beyond the data": (lambda r: r["rows"].__setitem__(10, 11), "rows: row 11 is none of the 11 of the data"),
    "validation rows": (lambda r: r.update(validation_rows=[3, 3]), "validation_rows: are not ascending"),
    "a short column": (lambda r: r["readings"]["celsius"].pop(), "readings.celsius: has 10 values for 11 rows"),
    "a missing column": (lambda r: r["readings"].pop("fahrenheit"), "readings.fahrenheit: missing key"),
    "another column": (
        lambda r: r["residuals"].update(kelvin=r["rows"]),
        "residuals.kelvin: is no column that the manifest has there",
    ),
    "a prediction of a feature": (
        lambda r: r["predictions"].update(fahrenheit=r["rows"]),
        "predictions.fahrenheit: is no column that the manifest has there",
    ),
    "a value beyond float32": (lambda r: r["readings"]["celsius"].__setitem__(0, 1e39), "readings.celsius.0: "),
    "no losses": (lambda r: r["losses"].update(training=[]), "losses.training: "),
    "other losses": (lambda r: r["losses"]["training"].append(1.0), "losses: do not end with those of training.losses"),
    "another training": (lambda r: r["training"].update(seed=7), "training: is not what the manifest says"),
    "a gradient of something else": (lambda r: r["gradients"].update(x=[1.0]), "gradients.x: is no parameter that"),
    "a gradient of NaN": (lambda r: r["gradients"].update({"output_linear.bias": [math.nan]}), "NaN is not a number"),
    "a gradient beyond float32": (lambda r: r["gradients"].update({"output_linear.bias": [1e39]}), "has no gradient"),
    "a gradient of booleans": (lambda r: r["gradients"].update({"output_linear.bias": [True]}), "has no gradient of "),
    "a gradient of text": (lambda r: r["gradients"].update({"output_linear.bias": ["1"]}), "has no gradient of "),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_that_is_of_no_version_is_refused(name: str, version: Path) -> None:
    """The report has to agree with itself and with the manifest."""
    change, place = REPORTS[name]
    rewrite(version, "report.json", change)
    replace(version, "report.json", (version / "report.json").read_bytes())
    assert refusal(version).startswith(f"report.json: {place}")


@pytest.mark.parametrize(
    ("text", "twice", "place"),
    [
        ('"seed": ', '"seed": 1, "seed": ', "training.seed"),
        ('"minimum": ', '"minimum": -1, "minimum": ', "features.0.minimum"),
        ('"format": ', '"format": "calibrant/1", "format": ', "format"),
        ('"sha256": ', '"sha256": "x", "sha256": ', "files.network.pt.sha256"),
        ('"torch": ', '"torch": "1", "t\\u006frch": ', "training.environment.torch"),
    ],
)
def test_a_key_that_comes_twice_is_refused(text: str, twice: str, place: str, version: Path) -> None:
    """At any depth, and however the key is written: one reader would take the first value, another one the last."""
    path = version / "manifest.json"
    path.write_text(path.read_text().replace(text, twice, 1))
    assert refusal(version) == f"manifest.json: {place}: the key is there twice"


def test_a_key_of_the_report_that_comes_twice_is_refused(version: Path) -> None:
    """Also inside of what has no form of its own."""
    content = (version / "report.json").read_text()
    replace(version, "report.json", content.replace('"gradients":{', '"gradients":{"output_linear.bias":[1],').encode())
    assert refusal(version) == "report.json: gradients.output_linear.bias: the key is there twice"


def test_a_manifest_of_many_values_is_refused_unread(version: Path) -> None:
    """Parsing a million values would hold up a running service, so they are counted before."""
    rewrite(version, "manifest.json", lambda manifest: manifest.update(files={str(at): 1 for at in range(300_000)}))
    assert refusal(version) == f"manifest.json: has more than {artifact.MANIFEST_MAX_VALUES} values"


def test_files_that_are_not_needed_are_not_kept(original: Path, tmp_path: Path) -> None:
    """A version with 300 MB of pictures is read by a process that may use little more memory than without them."""
    version = shutil.copytree(original, tmp_path / "thermometer" / "1")
    size = 300 * 2**20
    with (version / "large.svg").open("wb") as file:
        file.truncate(size)
    with (version / "large.svg").open("rb") as written:
        sha256 = hashlib.file_digest(written, "sha256").hexdigest()
    before = _peak(version)
    rewrite(version, "manifest.json", lambda m: m["files"].update({"large.svg": {"sha256": sha256, "size": size}}))
    assert _peak(version) < before + size // 4
    with (version / "large.svg").open("r+b") as file:
        file.write(b"x")
    assert refusal(version) == "large.svg: its sha256 is not the manifest's"


def _peak(version: Path) -> int:
    """Return how many bytes a process that reads the version has had at most."""
    code = "import resource, sys, pathlib; from service import artifact; artifact.read(pathlib.Path(sys.argv[1])); "
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    ran = subprocess.run([sys.executable, "-c", code, version], capture_output=True, text=True, check=True)
    return int(ran.stdout) * 1024


RANGES = [
    (-3.4e38, 3.4e38), (-3.4028235e38, 3.4028235e38), (0.0, 0.0), (-1e-46, 1e-46), (-1e-45, 1e-45), (1.0, 1.0000001),
    (-0.0, 0.0), (-1.0, 1.0), (1e38, 3.4028235e38), (-5e-324, 5e-324),
]  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that follows a folder in which tests put versions."""
    artifacts = tmp_path_factory.mktemp("manifests")
    publish(artifacts, epochs=2)
    with serving(artifacts, "--refresh-seconds", "0.05") as service:
        service.until_ready()
        yield service


def refused(version: Path) -> str | None:
    """Return why the reader refuses the version; None where it does not."""
    try:
        artifact.read(version)
    except artifact.ArtifactError as error:
        return str(error)
    return None


def serve(running: Running, document: dict[str, Any]) -> None:
    """Put a version with this manifest beside the others: it is refused with a reason, or answers and is measured."""
    model = running.artifacts / "thermometer"
    number = max(artifact.versions(model)) + 1
    shutil.rmtree(running.artifacts / ".staged", ignore_errors=True)
    staged = shutil.copytree(model / "1", running.artifacts / ".staged" / "thermometer" / "1")
    (staged / "manifest.json").write_text(json.dumps(document))
    if reason := refused(staged):
        files = document["files"] if isinstance(document.get("files"), dict) else {}
        assert reason.split(": ")[0] in {"manifest.json", "network.pt", "report.json", *files}
        assert "\n" not in reason
        assert len(reason) < 600
        shutil.rmtree(staged)
        return
    staged.rename(model / str(number))
    path = f"/models/thermometer/versions/{number}"
    running.until(lambda client: client.get(path).json().get("state") == "ready")
    name = document["features"][0]["name"]
    for query in ("", "?interval=0.5" if document.get("interval") else ""):
        answer = running.client.post(f"{path}/predict{query}", json={name: [-3.4e38, 0.0, 50.0, 3.4e38]})
        assert answer.status_code == 200, answer.text
    for more in ("", "/report"):
        assert running.client.get(path + more).status_code == 200
    check_metrics(running.client.get("/metrics").text)
    shutil.rmtree(model / str(number))


def check_metrics(text: str) -> None:
    """Parse the metrics: every bucket of a series has a bound of its own, and none is NaN."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert not math.isnan(sample.value), sample
        series: dict[tuple[tuple[str, str], ...], list[float]] = {}
        for sample in family.samples:
            if "le" in sample.labels:
                others = tuple(sorted(label for label in sample.labels.items() if label[0] != "le"))
                series.setdefault(others, []).append(float(sample.labels["le"]))
        for bounds in series.values():
            assert bounds == sorted(set(bounds)), bounds
            assert not any(map(math.isnan, bounds))
            assert max(Counter(bounds).values()) == 1


@pytest.mark.parametrize(("minimum", "maximum"), RANGES)
def test_metrics_of_any_range_have_different_buckets(minimum: float, maximum: float, running: Running) -> None:
    """Also of ranges that are too narrow for ten different bounds, or as wide as float32."""
    document = json.loads((running.artifacts / "thermometer" / "1" / "manifest.json").read_text())
    document["features"][0].update(minimum=minimum, maximum=maximum)
    if maximum - minimum < 1:
        document["golden"]["inputs"] = [[minimum]]
        document["golden"]["outputs"] = document["golden"]["outputs"][:1]
        document["interval"] = None
    serve(running, document)
    assert running.process.poll() is None


HOSTILE: st.SearchStrategy[object] = st.sampled_from([
    None, True, -1, 0, 1, 2, 10**30, -(10**400), 0.5, -0.0, 1e-46, 3.4e38, 1e39, 1e308, math.nan, math.inf, -math.inf,
    "", "x", "NaN", "\x00", "\ud7ff", "\u202e", "x" * 300, [], [[]], [1e38], [0.0], {}, {"x": 1}, [[1.0], [2.0]],
])  # fmt: skip


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Give the place of every value in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_manifest_is_refused_or_serves(running: Running, data: st.DataObject) -> None:
    """Whatever is changed in a good manifest, it is refused with the place, or the version answers and is measured."""
    document = json.loads((running.artifacts / "thermometer" / "1" / "manifest.json").read_text())
    changed = copy.deepcopy(document)
    *path, last = data.draw(st.sampled_from(list(places(document))))
    holder = changed
    for key in path:
        holder = holder[key]
    how = data.draw(st.sampled_from(["replace", "replace", "remove", "scale"]))
    if how == "remove":
        del holder[last]
    elif how == "scale" and isinstance(holder[last], float):
        holder[last] *= data.draw(st.sampled_from([-1.0, 0.999, 1.001, 1e10, 1e-10, 1e40]))
    else:
        holder[last] = data.draw(HOSTILE)
    serve(running, changed)
