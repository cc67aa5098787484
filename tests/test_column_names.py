"""The names of columns: every model that is accepted can answer in every form, and every other one is refused."""

import shutil
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace as changed
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from left_out import without_intervals
from running import Running, publish, serving
from service import artifact
from spoiling import rewrite
from tensors import index
from training import dataset, readings, record, textbook
from training import publish as publication
from training.__main__ import main as train
from training.network import Network, Scaling

CSV = {"content-type": "text/csv", "accept": "text/csv"}
QUICK = ("--hidden", "0", "--epochs", "1", "--validation-fraction", "0")

REFUSED = [
    (("out_of_range",), ("y",), "out_of_range"),
    (("x",), ("out_of_range",), "out_of_range"),
    (("y_lower",), ("y",), "y_lower"),
    (("x", "predicted_y"), ("y",), "predicted_y"),
    (("x", "predicted_y_upper"), ("y",), "predicted_y_upper"),
    (("x",), ("y", "y_lower"), "y_lower"),
    (("x",), ("predicted_y", "y"), "predicted_y"),
    (("x",), ("u_lower", "predicted_u"), "u_lower"),
    (("x",), ("coverage",), "coverage"),
    (("x",), ("y", "guaranteed"), "guaranteed"),
    (("hidden_linear_0",), ("y",), "hidden_linear_0"),
    (("hidden_activation_2_31",), ("y",), "hidden_activation_2_31"),
    (("feature_logarithm_0",), ("y",), "feature_logarithm_0"),
    (("x",), ("output_linear_0",), "output_linear_0"),
]
ACCEPTED = [
    (("coverage", "y_low", "lower"), ("y",)),
    (("predicted_z", "hidden_linear", "z_lower_"), ("y", "upper")),
    (("readings", "interval"), ("predictions", "lower")),
    (("y_lower_lower", "predicted_predicted_y"), ("y",)),
]


def table(path: Path, features: Sequence[str], targets: Sequence[str]) -> Path:
    """Write readings with these columns."""
    names = [*features, *targets]
    lines = [",".join(str(row * (column + 1) % 7 + row) for column in range(len(names))) for row in range(6)]
    path.write_text("\n".join([",".join(names), *lines]) + "\n")
    return path


def fit(folder: Path, model: str, features: Sequence[str], targets: Sequence[str]) -> int:
    """Fit a model with these columns for a moment, and return the status."""
    data = table(folder / f"{model}.csv", features, targets)
    flags = [flag for target in targets for flag in ("--target", target)]
    return train(["fit", "--data", str(data), *flags, "--artifacts", str(folder / "artifacts"), *QUICK])


@pytest.mark.parametrize(("features", "targets", "column"), REFUSED)
def test_fit_refuses_a_column_that_an_answer_could_not_have(
    features: tuple[str, ...], targets: tuple[str, ...], column: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends with status 2 before it trains, and one line names the column and what to do."""
    assert fit(tmp_path, "m", features, targets) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: m.csv, line 1, column {column!r}: ")
    assert said.endswith("; rename the column in the file's header, or remove it\n")
    assert said.count("\n") == 1
    assert not (tmp_path / "artifacts").exists()


def test_fit_refuses_more_columns_than_a_model_may_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the number of columns nor the length of all names is without a limit."""
    assert fit(tmp_path, "many", [f"x{at}" for at in range(4096)], ["y"]) == 2
    assert "4097 columns are more than the 4096 that a model may have" in capsys.readouterr().err
    assert fit(tmp_path, "long", [f"{at:0199}" + "x" for at in range(501)], ["y"]) == 2
    assert "the columns' names have 100201 characters together, and may have 100000" in capsys.readouterr().err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for tables and models."""
    return tmp_path_factory.mktemp("names")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Running]:
    """A service of the models that tests publish while it runs."""
    publish(folder / "artifacts", epochs=1)
    with serving(folder / "artifacts", "--refresh-seconds", "0.05") as service:
        service.until_ready()
        yield service


def answers(running: Running, model: str, features: Sequence[str], targets: Sequence[str]) -> None:
    """Check that the model answers in every form, with and without an interval, also where a table has targets."""
    running.until(lambda client: any(entry["name"] == model and entry["state"] == "READY" for entry in index(client)))
    for beside in ([], targets[:1], targets):
        names = [*features, *beside]
        body = ",".join(names) + "\n" + ",".join("1" for _ in names) + "\n"
        for path in ("predict", "predict?interval=0.5", "activations"):
            header = _ok(running.client.post(f"/models/{model}/{path}", content=body, headers=CSV)).text.splitlines()[0]
            assert header.split(",")[: len(names)] == names
            assert len(set(header.split(","))) == len(header.split(","))
    for path in ("predict", "predict?interval=0.5", "activations"):
        _ok(running.client.post(f"/models/{model}/{path}", json={name: [1.0] for name in features}))


def _ok(response: httpx.Response) -> httpx.Response:
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize(("features", "targets"), ACCEPTED)
def test_names_that_are_only_like_those_of_an_answer_are_good(
    features: tuple[str, ...], targets: tuple[str, ...], folder: Path, running: Running
) -> None:
    """No more names are reserved than an answer needs, and a model with such columns answers in every form."""
    model = f"good{ACCEPTED.index((features, targets))}"
    assert fit(folder, model, features, targets) == 0
    answers(running, model, features, targets)


STEMS = st.sampled_from(["y", "z", "out_of_range", "coverage", "hidden_linear", "output_linear"])
NAMES = st.builds(
    lambda before, stem, after: before + stem + after,
    st.sampled_from(["", "", "predicted_"]),
    STEMS,
    st.sampled_from(["", "", "_lower", "_upper", "_0", "_1_0"]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, min_size=2, max_size=4, unique=True), st.integers(1, 3))
def test_a_model_is_refused_or_answers_in_every_form(
    folder: Path, running: Running, capsys: pytest.CaptureFixture[str], names: list[str], count: int
) -> None:
    """Whatever the columns are called, there is no model that is published and then cannot answer."""
    count = min(count, len(names) - 1)
    features, targets = names[count:], names[:count]
    model = f"m{len(list(folder.glob('m*.csv')))}"
    status = fit(folder, model, features, targets)
    if status == 2:
        assert f"error: {model}.csv, line 1, column " in capsys.readouterr().err
    else:
        assert status == 0
        answers(running, model, features, targets)
        shutil.rmtree(folder / "artifacts" / model)


def test_a_manifest_with_such_a_name_fails_with_the_reason(tmp_path: Path) -> None:
    """A version that was made in another way is `failed`, and its reason names the column."""
    assert fit(tmp_path, "m", ("x",), ("y",)) == 0
    version = tmp_path / "artifacts" / "m" / "1"
    rewrite(version, "manifest.json", lambda manifest: manifest["features"][0].update(name="y_lower"))
    with serving(tmp_path / "artifacts") as service:
        service.until(lambda client: client.get("/readyz").status_code == 503)
        service.until(lambda client: client.get("/models/m").json()["versions"][0]["state"] == "failed")
        reason = service.client.get("/models/m").json()["versions"][0]["reason"]
    assert reason == (
        "manifest.json: column 'y_lower': an answer adds a column 'y_lower' for target 'y', and cannot have two"
    )


def with_a_layer_called_gate(path: Path) -> record.Run:
    """Fit a line to a table, and call the only layer of the network something else."""
    table = dataset.choose(readings.read(path), (), {})
    run = without_intervals(textbook.Recipe(epochs=1, hidden=(), validation_fraction=0).run(table, 0, "cpu"))
    line = run.network
    layers = OrderedDict(gate=line.get_submodule("output_linear"))
    features = Scaling(line.feature_offset, line.feature_scale)
    return changed(run, network=Network(layers, features, Scaling(line.target_offset, line.target_scale)))


def test_a_layer_that_training_does_not_make_reserves_its_names_too(tmp_path: Path) -> None:
    """The layers of a network from elsewhere are known once the network is loaded: this one has one value."""
    good = with_a_layer_called_gate(table(tmp_path / "m.csv", ("gate_1", "gate_00"), ("y",)))
    publication.publish(tmp_path, "m", record.files(good, "m"))
    bad = with_a_layer_called_gate(table(tmp_path / "m.csv", ("gate_1", "gate_0"), ("y",)))
    with pytest.raises(artifact.ArtifactError) as refused:
        publication.publish(tmp_path, "m", record.files(bad, "m"))
    said = "column 'gate_0': has a name that /activations uses for value 0 of layer 'gate'"
    assert str(refused.value) == f"manifest.json: {said}"
