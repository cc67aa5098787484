"""Arrow in and out: every numeric column converted or refused, never guessed, and the others carried as they are."""

import io
import os
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from forms import ARROW, CSV, JSON, as_float32, from_arrow, lines, pointers, post, to_arrow
from running import Running, serving

ALL = [ARROW, CSV, JSON]
MISSING = "import sys; sys.modules['pyarrow'] = None\n"


def table(values: Any, **others: Any) -> Any:
    """Some of these, and the feature among them."""
    return pa.table({"id": list(range(len(values))), "fahrenheit": values, **others})


def celsius(service: Running, values: list[float]) -> list[float]:
    """What the JSON answer says."""
    found: list[float] = service.client.post("/predict", json={"fahrenheit": values}).json()["predictions"]["celsius"]
    return found


OTHERS = {
    "text": pa.array(["a", None, "é"]),
    "a category": pa.array(["x", "y", "x"]).dictionary_encode(),
    "nothing": pa.nulls(3),
    "a list": pa.array([[1, 2], None, []]),
    "a structure": pa.array([{"a": 1}, {"a": None}, None]),
    "a day": pa.array([date(2026, 1, 1), None, date(1, 1, 1)]),
    "a time": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 3),
    "bytes": pa.array([b"\xff", b"", None]),
    "a view": pa.array(["a", "b" * 100, None], pa.string_view()),
    "runs": pc.run_end_encode(pa.array([1, 1, 2])),
    "money": pa.array([Decimal("1.50"), None, Decimal("0.01")]),
    "not a number": pa.array([float("nan"), float("inf"), None]),
}


def test_the_same_table_comes_back_with_the_answer_behind_it(service: Running) -> None:
    """Columns of any type, nulls, metadata of fields and schema: untouched; then prediction and out_of_range."""
    sent = table(pa.array([50.0, 68.0, 212.0]), **OTHERS)
    described = sent.schema.field("text").with_metadata({"who": "b"})
    schema = sent.schema.set(sent.schema.get_field_index("text"), described).with_metadata({"by": "hand"})
    sent = sent.cast(schema)
    answered = from_arrow(post(service, to_arrow(sent), ARROW, ARROW))
    assert answered.schema.metadata == {b"by": b"hand"}
    assert answered.schema.field("text").metadata == {b"who": b"b"}
    for name in set(sent.column_names) - {"not a number"}:  # which equals nothing, not even itself
        assert answered[name].equals(sent[name]), name
    assert answered.column_names == [*sent.column_names, "celsius", "out_of_range"]
    assert answered["celsius"].type == pa.float32()
    assert answered["celsius"].to_pylist() == as_float32(celsius(service, [50, 68, 212]))
    assert answered["out_of_range"].to_pylist() == [False, False, True]


def test_record_batches_stay_as_they_are(service: Running) -> None:
    """So many rows in each, also none."""
    sent = table([1.0, 2.0, 3.0, 4.0, 5.0])
    sizes = [2, 0, 1, 2]
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, sent.schema) as stream:
        for first, size in zip([0, 2, 2, 3], sizes, strict=True):
            stream.write_batch(sent.slice(first, size).combine_chunks().to_batches()[0] if size else _no_rows(sent))
    response = post(service, sink.getvalue(), ARROW, ARROW)
    assert [batch.num_rows for batch in pa.ipc.open_stream(response.content)] == sizes
    assert from_arrow(response)["celsius"].to_pylist() == as_float32(celsius(service, [1, 2, 3, 4, 5]))


def _no_rows(of: Any) -> Any:
    return pa.RecordBatch.from_pylist([], schema=of.schema)


@pytest.mark.parametrize("wanted", ALL)
def test_no_rows_in_no_rows_out(service: Running, wanted: str) -> None:
    """With a batch that is empty, or without any."""
    sent = table(pa.array([], pa.float64()))
    for body in (to_arrow(sent), to_arrow(pa.Table.from_batches([_no_rows(sent)]))):
        response = post(service, body, ARROW, wanted)
        assert response.status_code == 200
    if wanted == ARROW:
        assert from_arrow(response).num_rows == 0
    if wanted == CSV:
        assert lines(response) == ["id,fahrenheit,celsius,out_of_range"]


def test_json_out_is_what_json_in_gives(service: Running) -> None:
    """Byte for byte, without a wish too."""
    expected = service.client.post("/predict", json={"fahrenheit": [50.0, 212.0]}).content
    for accept in (None, "*/*", JSON):
        assert post(service, to_arrow(table([50.0, 212.0])), ARROW, accept).content == expected


def test_arrow_out_of_json_and_csv(service: Running) -> None:
    """Features as float32, other columns as text."""
    of_json = from_arrow(post(service, '{"fahrenheit":[50,212]}', JSON, ARROW))
    of_csv = from_arrow(post(service, 'n,fahrenheit\n007,50\n"a,b",212\n', CSV, ARROW))
    assert of_json.column_names == ["fahrenheit", "celsius", "out_of_range"]
    assert [field.type for field in of_csv.schema] == [pa.string(), pa.float32(), pa.float32(), pa.bool_()]
    assert of_csv["n"].to_pylist() == ["007", "a,b"]
    assert of_csv.drop_columns(["n"]).equals(of_json)


def test_csv_out_of_arrow(service: Running) -> None:
    """Numbers, days, categories and text as text, a null as an empty cell."""
    sent = pa.table(
        {
            "fahrenheit": pa.array([50.0, 68.25]),
            "text": ['a,"b"', None],
            "category": pa.array(["x\ny", None]).dictionary_encode(),
            "day": [date(2026, 1, 1), None],
            "money": [Decimal("1.50"), None],
            "yes": [True, None],
            "nothing": pa.nulls(2),
        }
    )
    answered = post(service, to_arrow(sent), ARROW, CSV).content.decode()
    cold, warm = celsius(service, [50, 68.25])
    assert answered.split("\r\n") == [
        "fahrenheit,text,category,day,money,yes,nothing,celsius,out_of_range",
        f'50,"a,""b""","x\ny",2026-01-01,1.50,true,,{cold},false',
        f"68.25,,,,,,,{warm},false",
        "",
    ]


@pytest.mark.parametrize("name", ["a list", "a structure", "bytes", "a view", "runs"])
def test_what_csv_cannot_hold_is_named(service: Running, name: str) -> None:
    """Rather than written in a way that nobody reads."""
    response = post(service, to_arrow(table([1.0, 2.0, 3.0], **{name: OTHERS[name]})), ARROW, CSV)
    assert response.status_code == 422
    assert pointers(response) == [f"column {name}"]


def test_activations(service: Running) -> None:
    """One column for each value of each layer, as in the JSON answer."""
    answered = from_arrow(post(service, to_arrow(table([50.0])), ARROW, ARROW, "/activations"))
    layers = service.client.post("/activations", json={"fahrenheit": [50.0]}).json()["activations"]
    expected = {f"{layer}_{at}": value for layer, (row,) in layers.items() for at, value in enumerate(row)}
    assert answered.column_names == ["id", "fahrenheit", *expected]
    found = answered.drop_columns(["id", "fahrenheit"]).to_pylist()[0]
    assert found == {name: float(np.float32(value)) for name, value in expected.items()}


NUMERIC = [
    *(getattr(pa, f"{sign}int{bits}")() for sign in ("", "u") for bits in (8, 16, 32, 64)),
    pa.float16(), pa.float32(), pa.float64(), pa.decimal128(9, 2), pa.decimal256(40, 5), pa.decimal32(5, 1),
    pa.dictionary(pa.int8(), pa.float64()), pa.dictionary(pa.uint32(), pa.int16()),
    pa.dictionary(pa.int16(), pa.decimal128(5, 1)),
]  # fmt: skip


@pytest.mark.parametrize("kind", NUMERIC, ids=str)
def test_every_numeric_type_is_converted(service: Running, kind: Any) -> None:
    """To the numbers that JSON would have."""
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    exact = [Decimal(50), Decimal(68), Decimal(50)]
    column = pa.array(exact, plain) if pa.types.is_decimal(plain) else pa.array([50, 68, 50]).cast(plain)
    column = column.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else column
    answered = from_arrow(post(service, to_arrow(table(column)), ARROW, ARROW))
    assert answered["fahrenheit"].type == kind
    assert answered["celsius"].to_pylist() == as_float32(celsius(service, [50, 68, 50]))


@pytest.mark.parametrize(
    ("kind", "value"), [(pa.int64(), 2**63 - 1), (pa.uint64(), 2**64 - 1), (pa.decimal128(38, 2), Decimal("1.23e30"))]
)
def test_large_integers_are_rounded_as_in_json(service: Running, kind: Any, value: Any) -> None:
    """They lie within float32."""
    answered = post(service, to_arrow(table(pa.array([value], kind))), ARROW).json()
    assert answered["predictions"]["celsius"] == celsius(service, [float(value)])
    assert answered["out_of_range"] == [0]


REFUSED = [
    pa.array([True]), pa.array(["50"]), pa.array([b"50"]), pa.nulls(1), pa.array([[50.0]]), pa.array([{"a": 50.0}]),
    pa.array([datetime(2026, 1, 1, tzinfo=UTC)]), pa.array([date(2026, 1, 1)]), pa.array([timedelta(1)]),
    pa.array(["50"]).dictionary_encode(), pc.run_end_encode(pa.array([50.0])), pa.array(["50"], pa.string_view()),
]  # fmt: skip


@pytest.mark.parametrize("path", ["/predict", "/activations"])
@pytest.mark.parametrize("column", REFUSED, ids=lambda column: str(column.type))
def test_every_other_type_is_refused(service: Running, column: Any, path: str) -> None:
    """With the column, its type, and what would do."""
    response = post(service, to_arrow(table(column)), ARROW, path=path)
    assert response.status_code == 422
    (fault,) = response.json()["errors"]
    assert fault["pointer"] == "column fahrenheit"
    assert str(column.type) in fault["detail"]
    assert "integer, floating-point or decimal" in fault["detail"]


BAD = {
    "a null": (pa.array([1.0, None]), "is null"),
    "a null among integers": (pa.array([1, None]), "is null"),
    "a null in a dictionary": (pa.DictionaryArray.from_arrays([0, 1], pa.array([1.0, None])), "is null"),
    "a null index": (pa.DictionaryArray.from_arrays(pa.array([0, None]), pa.array([1.0])), "is null"),
    "NaN": (pa.array([1.0, float("nan")]), "is not a finite number"),
    "Infinity": (pa.array([1.0, float("-inf")], pa.float32()), "is not a finite number"),
    "Infinity in float16": (pa.array([1.0, np.inf], pa.float16()), "is not a finite number"),
    "beyond float32": (pa.array([1.0, -3.5e38]), "is beyond float32"),
    "a decimal beyond float32": (pa.array([Decimal(1), Decimal(10) ** 60], pa.decimal256(70, 0)), "is beyond float32"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_named_by_row_and_column(service: Running, name: str) -> None:
    """Rows are counted from 0 through all batches, as in `out_of_range`."""
    column, detail = BAD[name]
    whole = pa.chunked_array([column.take([0, 0, 0]), column])
    response = post(service, to_arrow(table(whole), unify_dictionaries=False), ARROW, ARROW)
    assert response.status_code == 422
    assert response.json()["errors"] == [{"pointer": "row 4, column fahrenheit", "detail": detail}]


def test_wrong_tables_are_422(service: Running) -> None:
    """Missing, duplicate, and names that the answer needs."""
    one = pa.array([1.0])
    for names, place in [
        (["a"], "column fahrenheit"),
        (["fahrenheit", "fahrenheit"], "column fahrenheit"),
        (["fahrenheit", "a", "a"], "column a"),
        (["fahrenheit", "out_of_range"], "column out_of_range"),
    ]:
        response = post(service, to_arrow(pa.table([one] * len(names), names=names)), ARROW, ARROW)
        assert (response.status_code, pointers(response)) == (422, [place])


def test_limits_hold(service: Running) -> None:
    """Of rows, as for JSON; rows that take no room are counted too."""
    for columns in ({"fahrenheit": np.zeros(1_000_001, dtype=np.float16)}, {"fahrenheit": pa.nulls(1_000_001)}):
        assert post(service, to_arrow(pa.table(columns)), ARROW).status_code in {413, 422}
    assert post(service, to_arrow(pa.table({"fahrenheit": np.zeros(1_000_001, "f2")})), ARROW).status_code == 413


def test_without_pyarrow_the_service_serves_all_but_arrow(thermometer: Path, tmp_path: Path) -> None:
    """It starts, answers JSON and CSV, and says which extra a request lacks."""
    (tmp_path / "sitecustomize.py").write_text(MISSING)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    with serving(thermometer, environment={"PYTHONPATH": path}) as running:
        running.until_ready()
        assert lines(post(running, "fahrenheit\n50\n", CSV, CSV))[1].startswith("50,")
        refused = post(running, to_arrow(table([50.0])), ARROW)
        assert (refused.status_code, refused.headers["accept-post"]) == (415, f"{JSON}, {CSV}")
        unacceptable = post(running, '{"fahrenheit":[50]}', JSON, ARROW)
        assert unacceptable.status_code == 406
        for response in (refused, unacceptable):
            assert "--editable '.[arrow]'" in response.json()["detail"]
        for accept in (f"{ARROW}, {CSV};q=0.9, */*;q=0.1", f"{ARROW}, {CSV}"):
            assert lines(post(running, '{"fahrenheit":[50]}', JSON, accept))[1].startswith("50.0,")
