"""JSON, CSV, Arrow and the /v2 tensors are ways to say the same: equal numbers for equal rows, also for a million."""

import csv
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forms import ARROW, CSV, JSON, as_float32, from_arrow, lines, post, to_arrow
from running import Running, publish, serving
from service import artifact
from tensors import binary, outputs, request, tensor

MODELS = {"one": (1, 1), "wide": (11, 1), "many": (3, 2)}
FORMS = [JSON, CSV, ARROW]
MILLION = 1_000_000


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service of one to eleven features, and one or two targets."""
    folder = tmp_path_factory.mktemp("models")
    for name, (features, targets) in MODELS.items():
        columns = [*names("x", features), *names("y", targets)]
        values = np.random.default_rng(0).normal(size=(30, len(columns))).round(3)
        rows = [",".join(columns), *(",".join(map(str, row)) for row in values)]
        (folder / f"{name}.csv").write_text("\n".join(rows))
        wanted = [flag for target in names("y", targets) for flag in ("--target", target)]
        publish(folder / "artifacts", "--data", str(folder / f"{name}.csv"), *wanted)
    with serving(folder / "artifacts", "--max-body-bytes", str(64 * 2**20)) as running:
        running.until(lambda client: all(client.get(f"/models/{name}/report").status_code == 200 for name in MODELS))
        yield running


def names(letter: str, count: int) -> list[str]:
    """Column names."""
    return [f"{letter}{number}" for number in range(count)]


def body(form: str, rows: NDArray[np.float32], order: list[int]) -> bytes:
    """A table with an index of its own where the form allows one, its columns in this order."""
    columns = {f"x{at}": rows[:, at] for at in order}
    if form == JSON:
        return json.dumps({name: column.tolist() for name, column in columns.items()}).encode()
    index = np.arange(len(rows))
    if form == ARROW:
        return to_arrow(pa.table({**columns, "index": index}))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*columns, "index"])
    writer.writerows(zip(*(column.tolist() for column in columns.values()), index.tolist(), strict=True))
    return text.getvalue().encode()


def numbers(form: str, response: Any, targets: list[str]) -> list[list[float]]:
    """Each target's column, and last which rows are out of range."""
    if form == JSON:
        assert response.status_code == 200, response.text
        found = response.json()
        columns: list[list[float]] = [as_float32(found["predictions"][target]) for target in targets]
        return [*columns, found["out_of_range"]]
    if form == ARROW:
        table = from_arrow(response)
        columns = [table[target].to_pylist() for target in targets]
        outside = table["out_of_range"].to_pylist()
    else:
        head, *cells = csv.reader(lines(response))
        columns = [as_float32([float(row[head.index(target)]) for row in cells]) for target in targets]
        outside = [row[head.index("out_of_range")] == "true" for row in cells]
    return [*columns, [row for row, flag in enumerate(outside) if flag]]


def by_tensors(service: Running, model: str, rows: NDArray[np.float32], *, as_bytes: bool) -> list[list[float]]:
    """The same by /v2, in JSON or as bytes both ways."""
    asked = request(tensor(rows.tolist(), rows.shape), parameters={"binary_data_output": as_bytes})
    content, headers = binary(asked, rows) if as_bytes else (json.dumps(asked).encode(), {})
    found = outputs(service.client.post(f"/v2/models/{model}/infer", content=content, headers=headers))
    return [*found["predictions"].T.tolist(), np.flatnonzero(found["out_of_range"]).tolist()]


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, NDArray[np.float32], list[int]]:
    """A model, rows for it, and an order of its columns."""
    model = draw(st.sampled_from(sorted(MODELS)))
    features, _ = MODELS[model]
    number = st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-3, 3, width=32)
    rows = draw(st.lists(st.lists(number, min_size=features, max_size=features), max_size=20))
    return model, np.array(rows, dtype=np.float32).reshape(-1, features), draw(st.permutations(range(features)))


@given(asked=tables())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_every_form_in_and_out_gives_the_same_numbers(
    models: Running, asked: tuple[str, NDArray[np.float32], list[int]]
) -> None:
    """Bit for bit, whatever the shape, the values, and the order of the columns."""
    model, rows, order = asked
    targets = names("y", MODELS[model][1])
    found = [
        numbers(wanted, post(models, body(sent, rows, order), sent, wanted, f"/models/{model}/predict"), targets)
        for sent in FORMS
        for wanted in FORMS
    ]
    found += [by_tensors(models, model, rows, as_bytes=as_bytes) for as_bytes in (False, True)]
    assert all(answer == found[0] for answer in found)


@pytest.mark.parametrize(("form", "tolerance"), [(ARROW, 1e-6), (CSV, 1e-5)])
def test_a_million_values_equal_the_network_in_memory(models: Running, form: str, tolerance: float) -> None:
    """In one request, through a real process."""
    rows = np.random.default_rng(1).normal(scale=2, size=(MILLION, 1)).astype(np.float32)
    (found, _) = numbers(form, post(models, body(form, rows, [0]), form, form, "/models/one/predict"), ["y0"])
    network = artifact.read(models.artifacts / "one" / "1").network
    with torch.inference_mode():
        expected = network(torch.from_numpy(rows)).numpy()[:, 0]
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("form", [CSV, ARROW])
def test_probes_are_answered_while_a_large_table_is(models: Running, form: str) -> None:
    """It is read and written on a thread."""
    sent = body(CSV, np.zeros((500_000, 3), dtype=np.float32), [0, 1, 2])
    with ThreadPoolExecutor(1) as others:
        started = time.perf_counter()
        answer = others.submit(
            httpx.post,
            f"{models.url}/models/many/predict",
            content=sent,
            timeout=60,
            headers={"content-type": CSV, "accept": form},
        )
        slowest = 0.0
        while not answer.done():
            asked = time.perf_counter()
            assert models.client.get("/livez").status_code == 200
            slowest = max(slowest, time.perf_counter() - asked)
        assert answer.result().status_code == 200
        assert slowest < (time.perf_counter() - started) / 3


@pytest.mark.parametrize("path", ["/predict", "/activations", "/models/{model}/predict"])
def test_the_document_names_every_form(models: Running, path: str) -> None:
    """Of the body and of the answer."""
    operation = models.client.get("/openapi.json").json()["paths"][path]["post"]
    assert list(operation["requestBody"]["content"]) == FORMS
    assert sorted(operation["responses"]["200"]["content"]) == sorted(FORMS)
    assert "$ref" in operation["responses"]["200"]["content"][JSON]["schema"]
