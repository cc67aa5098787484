"""service.client against a real service: every kind of table, typed errors, and what its users need not import."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from faults import answers, faulty
from running import Running, publish, serving
from service import artifact, client
from service.client import AsyncClient, BadTable, Client, NotFound, TooLarge, UnexpectedAnswer, WrongValues, errors

VALUES = [50.0, 68.0, 212.0]
# What the client may load besides the standard library: httpx and what that brings, arrays, and how JSON is written.
ALLOWED = {"anyio", "certifi", "click", "h11", "httpcore", "httpx", "idna", "numpy", "orjson", "pygments", "rich",
           "service", "sniffio", "typing_extensions"}  # fmt: skip


def in_memory(artifacts: Path, model: str, rows: Any, version: int = 1) -> np.ndarray:
    """What the published network gives for rows ``[N, features]`` when it is called right here."""
    network = artifact.read(artifacts / model / str(version)).network
    with torch.inference_mode():
        outputs: np.ndarray = network(torch.tensor(np.asarray(rows, dtype=np.float32))).numpy()
    return outputs


def thermometer(service: Running, values: Any) -> np.ndarray:
    """The same for the thermometer's one feature and target."""
    outputs: np.ndarray = in_memory(service.artifacts, "thermometer", np.asarray(values)[:, None])[:, 0]
    return outputs


def test_a_dict_of_lists_comes_back_with_lists(service: Running) -> None:
    """The input's columns as they were, then the targets, then which rows are out of range."""
    with Client(service.url) as asked:
        answered = asked.predict({"fahrenheit": VALUES})
    assert list(answered) == ["fahrenheit", "celsius", "out_of_range"]
    assert answered["fahrenheit"] is VALUES
    np.testing.assert_allclose(answered["celsius"], thermometer(service, VALUES), rtol=1e-6)
    assert answered["out_of_range"] == [False, False, True]
    assert all(str(value) == str(np.float32(value)) for value in answered["celsius"])


def test_a_dict_of_arrays_comes_back_with_arrays(service: Running) -> None:
    """Float32 predictions and bool flags."""
    with Client(service.url) as asked:
        answered = asked.predict({"fahrenheit": np.array(VALUES)})
    assert answered["celsius"].dtype == np.float32
    assert answered["out_of_range"].dtype == np.bool_
    np.testing.assert_allclose(answered["celsius"], thermometer(service, VALUES), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int16", ">f8"])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_an_array_gives_an_array(service: Running, dtype: str, shape: tuple[int, ...]) -> None:
    """[N] or [N, 1] for one feature in, float32 [N, 1] out."""
    with Client(service.url) as asked:
        answered = asked.predict(np.array(VALUES, dtype=dtype).reshape(shape))
    assert answered.shape == (3, 1)
    assert answered.dtype == np.float32
    np.testing.assert_allclose(answered[:, 0], thermometer(service, VALUES), rtol=1e-6)


def test_an_arrow_table_keeps_its_columns(service: Running) -> None:
    """Whatever they are; the schema's new fields are float and bool."""
    table = pa.table({"note": ["a", None, "c"], "fahrenheit": pa.chunked_array([[50.0], [68.0, 212.0]])})
    with Client(service.url) as asked:
        answered = asked.predict(table)
    assert answered.select(["note", "fahrenheit"]).equals(table)
    assert [str(field.type) for field in answered.schema] == ["string", "double", "float", "bool"]
    np.testing.assert_allclose(answered["celsius"].to_numpy(), thermometer(service, VALUES), rtol=1e-6)


@pytest.mark.parametrize(
    "type_", [pa.decimal128(5, 1), pa.dictionary(pa.int8(), pa.float64()), pa.uint64(), pa.float16()]
)
def test_arrow_columns_go_out_as_what_they_are(service: Running, type_: Any) -> None:
    """As a stream of Arrow, in which the service knows a decimal from a text that looks like a number."""
    values = pa.array(VALUES).cast(pa.float64() if pa.types.is_dictionary(type_) else type_)
    column = values.dictionary_encode() if pa.types.is_dictionary(type_) else values
    with Client(service.url) as asked:
        answered = asked.predict(pa.table({"fahrenheit": column}))
        with pytest.raises(WrongValues, match="column fahrenheit is of type string"):
            asked.predict(pa.table({"fahrenheit": ["50", "68"]}))
    np.testing.assert_allclose(answered["celsius"].to_numpy(), thermometer(service, VALUES), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32", "Int64", "int8[pyarrow]"])
def test_a_frame_keeps_its_index_and_columns(service: Running, dtype: str) -> None:
    """Text among them; the frame that was handed in is not changed."""
    frame = pd.DataFrame({"fahrenheit": pd.array([50, 68, 100], dtype=dtype), "note": list("abc")}, index=[7, 7, 9])
    before = frame.copy()
    with Client(service.url) as asked:
        answered = asked.predict(frame)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(answered[["fahrenheit", "note"]], before)
    assert list(answered.columns) == ["fahrenheit", "note", "celsius", "out_of_range"]
    np.testing.assert_allclose(answered["celsius"], thermometer(service, [50, 68, 100]), rtol=1e-6)


def test_a_column_that_is_there_already_is_not_overwritten(service: Running) -> None:
    """What was measured stays beside what is predicted."""
    with Client(service.url) as asked:
        answered = asked.predict({"celsius": [1.0], "fahrenheit": [50.0], "out_of_range": ["x"]})
        assert (answered["celsius"], answered["out_of_range"]) == ([1.0], ["x"])
        assert list(answered)[3:] == ["predicted_celsius", "predicted_out_of_range"]
        with pytest.raises(BadTable, match="celsius and predicted_celsius already"):
            asked.predict(answered)


@pytest.mark.parametrize(
    "kind",
    [
        lambda rows: rows,
        lambda rows: pd.DataFrame(rows[:, ::-1], columns=["sugar", "acid"]),
        lambda rows: pa.table({"sugar": rows[:, 1], "acid": rows[:, 0]}),
        lambda rows: {"sugar": rows[:, 1].tolist(), "acid": rows[:, 0]},
    ],
)
def test_several_features_and_targets(both: Running, kind: Callable[[np.ndarray], Any]) -> None:
    """By name in whatever order; an array by position. Also a table without rows."""
    rows = np.random.default_rng(1).uniform(0, 9, size=(3000, 2)).astype(np.float32)
    expected = in_memory(both.artifacts, "wine", rows)
    with Client(both.url) as asked:
        answered, none = (asked.predict(kind(some), model="wine", version=1) for some in (rows, rows[:0]))
    if not isinstance(answered, np.ndarray):
        answered, none = (
            np.stack([np.asarray(table[target]) for target in ("score", "price")], axis=1) for table in (answered, none)
        )
    np.testing.assert_allclose(answered, expected, rtol=1e-5, atol=1e-5)
    assert none.shape == (0, 2)


@pytest.mark.parametrize("as_lists", [True, False])
def test_a_large_table_comes_back_in_order(
    service: Running, capsys: pytest.CaptureFixture[str], *, as_lists: bool
) -> None:
    """In as many requests as it takes, with a bar on stderr where it is asked for."""
    values = np.random.default_rng(2).uniform(20, 90, size=220_001).astype(np.float32)
    with Client(service.url) as asked:
        answered = asked.predict({"fahrenheit": values.tolist() if as_lists else values}, progress=True)
        bar = capsys.readouterr().err
        asked.predict(values)
    np.testing.assert_allclose(answered["celsius"], thermometer(service, values), rtol=1e-5, atol=1e-5)
    assert "220001/220001" in bar
    assert capsys.readouterr().err == ""


def test_a_service_with_small_limits_gets_small_requests(thermometer: Path) -> None:
    """The table is halved until the service takes it; what is too large as a single row is an error."""
    values = np.linspace(20, 90, 5000, dtype=np.float32)
    with serving(thermometer, "--max-rows", "900", "--max-body-bytes", "4096") as running, Client(running.url) as asked:
        running.until_ready()
        answered = asked.predict(values)
    np.testing.assert_allclose(answered, in_memory(thermometer, "thermometer", values[:, None]), rtol=1e-5, atol=1e-5)
    with serving(thermometer, "--max-body-bytes", "10") as running, Client(running.url) as asked:
        with pytest.raises(TooLarge) as caught:
            asked.predict(values)
        assert (caught.value.status, caught.value.kind) == (413, "too-large")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"celsius": [1.0]}, "no column fahrenheit; thermometer version 1 needs fahrenheit"),
        ({"fahrenheit": np.array(["50"])}, "column fahrenheit holds <U2"),
        ({"fahrenheit": np.array([True])}, "column fahrenheit holds bool"),
        ({"fahrenheit": np.ones((2, 2))}, r"column fahrenheit has the shape \[2, 2\]"),
        ({"fahrenheit": [2**70]}, "not a number"),
        (np.ones((2, 2)), r"shape \[2, 2\]"),
        (pd.DataFrame({"fahrenheit": ["50"]}), "column fahrenheit holds"),
        (pd.DataFrame([[1.0, 2.0]], columns=["fahrenheit"] * 2), "2 columns fahrenheit"),
        (pd.DataFrame({"x": [1.0]}), "no column fahrenheit"),
        (pa.table({"x": [1.0]}), "no column fahrenheit"),
        (pa.table([[1.0], [2.0]], names=["fahrenheit"] * 2), "2 columns fahrenheit"),
        ([50.0], "a list is no table"),
    ],
)
def test_a_table_that_cannot_be_sent_is_said_so(service: Running, table: Any, says: str) -> None:
    """It names the column, and nothing is guessed."""
    with Client(service.url) as asked, pytest.raises(BadTable, match=says):
        asked.predict(table)


def test_columns_that_do_not_fit_together_are_refused(both: Running) -> None:
    """With the length of each, or the shape of all."""
    with Client(both.url) as asked:
        with pytest.raises(BadTable, match="acid has 2, sugar has 1"):
            asked.predict({"acid": [1.0, 2.0], "sugar": [1.0]}, model="wine")
        with pytest.raises(BadTable, match=r"shape \[9, 3\]; wine version 2 takes \[N, 2\]: acid, sugar"):
            asked.predict(np.ones((9, 3)), model="wine")


def test_a_wrong_value_is_named_by_the_callers_own_row(service: Running) -> None:
    """Also where it went out in the second request."""
    values: list[Any] = [50.0] * 70_000
    values[60_000] = "68"
    with Client(service.url) as asked, pytest.raises(WrongValues) as caught:
        asked.predict({"fahrenheit": values})
    assert str(caught.value) == "/fahrenheit/60000 is not a number"
    assert (caught.value.status, caught.value.kind) == (422, "wrong-values")
    assert [fault.pointer for fault in caught.value.errors] == ["/fahrenheit/60000"]
    with Client(service.url) as asked, pytest.raises(WrongValues, match="60000") as caught:
        asked.predict(np.array([*values[:60_000], np.nan, *values[60_001:]]))
    assert "60000" in caught.value.errors[0].pointer


@pytest.mark.parametrize(
    "missing",
    [np.array([50.0, np.nan]), np.ma.array([50.0, 68.0], mask=[False, True]), {"fahrenheit": [50.0, None]},
     pd.DataFrame({"fahrenheit": pd.array([50, None], dtype="Int64")}), pa.table({"fahrenheit": [50.0, None]})],
)  # fmt: skip
def test_a_missing_value_is_no_number(service: Running, missing: Any) -> None:
    """NaN, None, masked and null alike are refused by the service, with their row."""
    with Client(service.url) as asked, pytest.raises(WrongValues) as caught:
        asked.predict(missing)
    assert "1" in caught.value.errors[0].pointer


def test_what_there_is_not_is_not_found(service: Running) -> None:
    """A model, a version, or a label."""
    with Client(service.url) as asked:
        for model, version in (("other", None), ("thermometer", 7), (None, "champion"), ("a/b", None)):
            with pytest.raises(NotFound) as caught:
                asked.predict({"fahrenheit": VALUES}, model=model, version=version)
            assert (caught.value.status, caught.value.kind) == (404, "not-found")


def test_versions_and_labels_choose_who_answers(tmp_path: Path) -> None:
    """By model, number, label or default; and `version` says which it is."""
    publish(tmp_path)
    publish(tmp_path, "--seed", "1")
    (tmp_path / "thermometer" / "labels").mkdir()
    (tmp_path / "thermometer" / "labels" / "candidate").write_text("1")
    cases = [((None, None), 2), (("thermometer", None), 2), (("thermometer", 1), 1), ((None, "candidate"), 1)]
    with serving(tmp_path) as running, Client(running.url) as asked:
        running.until_ready()
        for (model, version), number in cases:
            answering = asked.version(model, version)
            assert (answering.model, answering.number) == ("thermometer", str(number))
            assert (answering.features, answering.targets) == (("fahrenheit",), ("celsius",))
            answered = asked.predict(np.array(VALUES), model=model, version=version)
            expected = in_memory(tmp_path, "thermometer", np.array(VALUES)[:, None], number)
            np.testing.assert_allclose(answered, expected, rtol=1e-6)
        assert asked.report(version="candidate") == running.client.get("/models/thermometer/versions/1/report").json()


def test_parameters_models_and_report(service: Running, thermometer: Path) -> None:
    """As arrays by name, with their gradients; and the documents as the service has them."""
    with Client(service.url) as asked:
        parameters = asked.parameters()
        assert asked.models() == service.client.get("/models").json()["models"]
        assert asked.report() == service.client.get("/report").json()
    read = artifact.read(thermometer / "thermometer" / "1")
    for name, value in read.network.named_parameters():
        np.testing.assert_array_equal(parameters[name].values, value.detach().numpy())
        np.testing.assert_array_equal(parameters[name].gradient, read.gradients[name].numpy())
        assert parameters[name].values.dtype == np.float32


def test_the_asynchronous_client_is_the_same_one(service: Running) -> None:
    """Many calls at once, from one event loop."""

    async def several() -> list[dict[str, list[float]]]:
        async with AsyncClient(service.url) as asked:
            tables = [{"fahrenheit": [float(number)]} for number in range(20)]
            return await asyncio.gather(*(asked.predict(table) for table in tables))

    answered = asyncio.run(several())
    assert [table["fahrenheit"] for table in answered] == [[float(number)] for number in range(20)]
    expected = thermometer(service, np.arange(20.0))
    np.testing.assert_allclose([table["celsius"][0] for table in answered], expected, rtol=1e-5, atol=1e-5)


def test_a_client_needs_no_with(service: Running) -> None:
    """It works until it is closed, and may be closed twice; who forgets it can end all the same."""
    asked = Client(service.url)
    assert asked.predict({"fahrenheit": [50.0]})["out_of_range"] == [False]
    asked.close()
    asked.close()
    script = (
        "import sys, service.client as c; asked = c.Client(sys.argv[1]); print(asked.predict({'fahrenheit': [50.0]}))"
    )
    command = [sys.executable, "-c", script, service.url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert "celsius" in ended.stdout
    assert ended.stderr == ""


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://somewhere", "http://", "http://a:b:c"])
def test_what_is_no_url_is_refused_at_once(url: str) -> None:
    """Before anything is asked."""
    with pytest.raises(ValueError, match="URL"):
        Client(url)


# A version 3 of a model m, from x to y, as a client looks it up; what comes then is the answer to its prediction.
LOOKED_UP = [
    answers(200, {"model": "m", "version": "3"}),
    answers(
        200,
        {"model": "m", "version": "3", "manifest": {"features": [{"name": "x"}], "targets": [{"name": "y"}]}},
    ),
]
JSON_BOUNDS = {
    "model": "m", "version": "3", "predictions": {"y": [1.5, 2.5]}, "out_of_range": [1],
    "interval": {"coverage": 0.9, "guaranteed": 0.8, "y": {"lower": [1, 2], "upper": [2, 3]}},
}  # fmt: skip
ARROW_BOUNDS = pa.table({"x": [1.0, 2.0], "y": [1.5, 2.5], "y_lower": [1.0, 2.0], "y_upper": [2.0, 3.0],
                         "out_of_range": [False, True]})  # fmt: skip

ARRAY_BOUNDS = [[[1.5, 1.0, 2.0]], [[2.5, 2.0, 3.0]]]


def test_intervals_come_as_bounds() -> None:
    """A lower and an upper column for each target, between the prediction and ``out_of_range``."""
    with faulty([*LOOKED_UP, answers(200, JSON_BOUNDS)]) as server, Client(server.url) as asked:
        table = asked.predict({"x": [1.0, 2.0]}, interval=0.9)
    assert server.heads[2].startswith("POST /models/m/versions/3/predict?interval=0.9 ")
    assert list(table.items()) == list(ARROW_BOUNDS.to_pydict().items())


def test_bounds_of_an_array_are_beside_its_predictions() -> None:
    """Asked for in Arrow, as pyarrow is here: prediction, lower, upper."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, ARROW_BOUNDS.schema) as stream:
        stream.write_table(ARROW_BOUNDS)
    with faulty([*LOOKED_UP, answers(200, bytes(sink.getvalue()))]) as server, Client(server.url) as asked:
        array = asked.predict(np.array([1.0, 2.0]), interval=0.9)
    np.testing.assert_array_equal(array, ARRAY_BOUNDS)
    assert form_of(server.heads[2]) == "application/vnd.apache.arrow.stream"


def test_a_service_without_arrow_is_asked_in_json() -> None:
    """It is asked once whether it has it."""
    script = [answers(415, ""), answers(200, JSON_BOUNDS), answers(200, JSON_BOUNDS)]
    with faulty([*LOOKED_UP, *script]) as server, Client(server.url) as asked:
        for _ in range(2):
            array = asked.predict(np.array([1.0, 2.0]), interval=0.9, model="m", version=3)
            np.testing.assert_array_equal(array, ARRAY_BOUNDS)
    arrow, *later = map(form_of, server.heads[2:])
    assert arrow == "application/vnd.apache.arrow.stream"
    assert later == ["application/json"] * 2


def form_of(head: str) -> str:
    """What a request's body is, which has to be what its answer shall be."""
    headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:])
    assert headers["accept"] == headers["content-type"]
    return headers["accept"]


def test_two_new_columns_of_one_name_are_refused() -> None:
    """Rather than one lost."""
    manifest = {"features": [{"name": "x"}], "targets": [{"name": "y"}, {"name": "predicted_y"}]}
    predictions = {"predictions": {"y": [1.5], "predicted_y": [2.5]}, "out_of_range": []}
    version = answers(200, {"model": "m", "version": "3", "manifest": manifest})
    script = [LOOKED_UP[0], version, answers(200, predictions)]
    with faulty(script) as server, Client(server.url) as asked, pytest.raises(BadTable, match="one name: predicted_y"):
        asked.predict({"x": [1.0], "y": [0.0]})


def test_an_answer_without_the_interval_that_was_asked_for_is_an_error() -> None:
    """An option must not be lost on the way."""
    without = answers(200, {"predictions": {"y": [1.5]}, "out_of_range": []})
    with faulty([*LOOKED_UP, without]) as server, Client(server.url) as asked, pytest.raises(UnexpectedAnswer):
        asked.predict({"x": [1.0]}, interval=0.9)


def test_it_imports_no_more_than_it_needs() -> None:
    """No torch, no web framework, and nothing else of the service."""
    script = "import sys; before = set(sys.modules); import service.client.command; print(*set(sys.modules) - before)"
    listed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    packages = {name.partition(".")[0] for name in listed if not name.startswith("_")}
    assert packages - set(sys.stdlib_module_names) <= ALLOWED
    assert {".".join(name.split(".")[:2]) for name in listed if name.startswith("service.")} == {"service.client"}


def test_the_examples_of_its_page_work(service: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/client.md, from top to bottom."""
    monkeypatch.chdir(tmp_path)
    Path("readings.csv").write_text("fahrenheit,celsius,note\n50.0,9.8,a\n68.0,20.1,b\n")
    page = (Path(__file__).parent.parent.parent / "docs" / "client.md").read_text()
    examples = re.findall(r"```python\n(.+?)```", page, re.DOTALL)
    assert len(examples) >= 3
    names: dict[str, object] = {}
    for example in examples:
        exec(example.replace("http://127.0.0.1:8000", service.url), names)
    cast("Client", names["client"]).close()


def test_every_error_is_exported_and_in_the_drawing() -> None:
    """As the docstring has the tree."""
    of_module = {
        name for name, found in vars(errors).items() if isinstance(found, type) and found.__module__ == errors.__name__
    }
    for name in of_module:
        assert getattr(client, name) is getattr(errors, name)
        if issubclass(getattr(errors, name), Exception):
            assert f" {name} " in (errors.__doc__ or "").replace("\n", " ")
