"""CSV in and out: the same rows with what was asked for behind them, and a bad cell named by line and column."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from forms import CSV, JSON, lines, pointers, post
from running import Running, publish, serving

READINGS = Path(__file__).parents[2] / "training" / "data" / "thermometer.csv"
PLAIN = "fahrenheit\n50.0\n212\n"


@pytest.fixture(autouse=True)
def _the_next_good_request_works(service: Running) -> Iterator[None]:
    yield
    assert post(service, PLAIN, CSV).status_code == 200


def celsius(service: Running, *values: float) -> list[str]:
    """What the JSON answer says, digit by digit."""
    text = service.client.post("/predict", json={"fahrenheit": values}).text
    return text.partition('"celsius":[')[2].partition("]")[0].split(",")


def test_the_same_rows_come_back_with_the_answer_behind_them(service: Running) -> None:
    """Prediction, then out_of_range, with the digits that JSON has."""
    cold, hot = celsius(service, 50.0, 212.0)
    assert lines(post(service, PLAIN, CSV, CSV)) == [
        "fahrenheit,celsius,out_of_range",
        f"50.0,{cold},false",
        f"212,{hot},true",
    ]


def test_the_readings_themselves_are_a_request(service: Running) -> None:
    """Their file has the target too: the prediction stands beside it under a name of its own."""
    answered = lines(post(service, READINGS.read_bytes(), CSV, CSV))
    assert answered[0] == "fahrenheit,celsius,predicted_celsius,out_of_range"
    sent = READINGS.read_text().splitlines()
    assert [line.rsplit(",", 2)[0] for line in answered] == sent


def test_other_columns_are_carried_byte_for_byte(service: Running) -> None:
    """Quotes, line breaks, spaces, leading zeros, empty cells, in every script."""
    rows = ['007,"a, ""b""\r\nc",50, é ', ',"",68.0,"日本"', "x,'y', 5e1 ,\t"]
    body = "\r\n".join(["id,note,fahrenheit,é", *rows]) + "\r\n"
    answered = post(service, body, CSV, CSV).content.decode()
    values = celsius(service, 50.0, 68.0, 50.0)
    expected = [f"{row},{value},false" for row, value in zip(rows, values, strict=True)]
    assert answered == "\r\n".join(["id,note,fahrenheit,é,celsius,out_of_range", *expected]) + "\r\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_answer_is_written_as_the_request_was(service: Running, end: str, separator: str, mark: str) -> None:
    """Separator and line end; blank lines and a byte order mark are passed over; a last line needs no end."""
    body = mark + end.join([f"n{separator}fahrenheit", "", f"a{separator}50", "", f"b{separator}68"])
    cold, warm = celsius(service, 50.0, 68.0)
    expected = [["n", "fahrenheit", "celsius", "out_of_range"], ["a", "50", cold, "false"], ["b", "68", warm, "false"]]
    assert post(service, body, CSV, CSV).content.decode() == "".join(separator.join(row) + end for row in expected)


def test_no_rows_in_no_rows_out(service: Running) -> None:
    """A header is a table."""
    assert lines(post(service, "fahrenheit,n\n", CSV, CSV)) == ["fahrenheit,n,celsius,out_of_range"]
    assert post(service, "fahrenheit", CSV).json()["predictions"] == {"celsius": []}
    assert lines(post(service, '{"fahrenheit":[]}', JSON, CSV)) == ["fahrenheit,celsius,out_of_range"]


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/csv;q=0.5, application/json"])
def test_json_out_is_what_json_in_gives(service: Running, accept: str | None) -> None:
    """Byte for byte; without a wish, the answer is JSON."""
    response = post(service, "n,fahrenheit\na,50.0\nb,212.0\n", CSV, accept)
    assert response.headers["content-type"] == JSON
    assert response.content == service.client.post("/predict", json={"fahrenheit": [50.0, 212.0]}).content


def test_csv_out_of_json(service: Running) -> None:
    """The features in the model's order, then the same."""
    cold, hot = celsius(service, 50.0, 212.5)
    answered = lines(post(service, '{"fahrenheit":[50,212.5]}', JSON, CSV))
    assert answered == ["fahrenheit,celsius,out_of_range", f"50.0,{cold},false", f"212.5,{hot},true"]


def test_activations(service: Running) -> None:
    """One column for each value of each layer, as in the JSON answer."""
    answered = list(csv.reader(io.StringIO(post(service, PLAIN, CSV, CSV, "/activations").text)))
    layers = service.client.post("/activations", json={"fahrenheit": [50.0, 212.0]}).json()["activations"]
    names = [f"{layer}_{index}" for layer, rows in layers.items() for index in range(len(rows[0]))]
    assert answered[0] == ["fahrenheit", *names]
    for row in (0, 1):
        assert list(map(float, answered[1 + row][1:])) == [value for rows in layers.values() for value in rows[row]]


@pytest.mark.parametrize("path", ["/models/thermometer/predict", "/models/thermometer/versions/1/predict"])
def test_every_path_reads_it(service: Running, path: str) -> None:
    """A model's default, and a version, by name."""
    assert lines(post(service, PLAIN, CSV, CSV, path)) == lines(post(service, PLAIN, CSV, CSV))


def test_an_answer_has_its_headers(service: Running) -> None:
    """Server-Timing and the request's id, as for JSON."""
    headers = {"content-type": CSV, "accept": CSV, "x-request-id": "abc-1"}
    response = service.client.post("/predict", content=PLAIN, headers=headers)
    assert response.headers["x-request-id"] == "abc-1"
    assert response.headers["server-timing"].startswith("wait;dur=")


def test_a_deadline_holds(service: Running) -> None:
    """It counts from the head on, so that the reading of a large body is part of it."""
    body = "fahrenheit\n" + "50.25\n" * 200_000
    headers = {"content-type": CSV, "x-request-timeout-ms": "1"}
    assert service.client.post("/predict", content=body, headers=headers).status_code == 504


def test_predictions_are_counted(thermometer: Path) -> None:
    """Rows, rows out of range and problems, whatever the form."""
    with serving(thermometer) as running:
        running.until_ready()
        assert post(running, PLAIN, CSV, CSV).status_code == 200
        assert post(running, "x\n1\n", CSV, CSV).status_code == 422
        found = running.client.get("/metrics").text.splitlines()
    for line in (
        'calibrant_requests_total{model="thermometer",route="/predict",status="200"} 1.0',
        'calibrant_problems_total{kind="wrong-values"} 1.0',
        'calibrant_rows_total{model="thermometer",version="1"} 2.0',
        'calibrant_out_of_range_rows_total{model="thermometer",version="1"} 1.0',
    ):
        assert line in found


GOOD_NUMBERS = ["50", "+50", "50.", "050.0", "5e1", "+5.0E+1", " 50 ", '"50"', "\t50", "5000e-2"]


@pytest.mark.parametrize("cell", GOOD_NUMBERS)
def test_numbers(service: Running, cell: str) -> None:
    """Decimal numbers, with a sign, an exponent, or spaces around them."""
    body = f"fahrenheit\n{cell}\n"
    assert post(service, body, CSV).json()["predictions"]["celsius"] == [float(celsius(service, 50.0)[0])]


BAD_CELLS = {
    "": "is empty", "  ": "is empty", '""': "is empty", "x": "is not a number", "nan": "is not a number",
    "inf": "is not a number", "-Infinity": "is not a number", "0x10": "is not a number", "1_0": "is not a number",
    "1 0": "is not a number", '"1,5"': "is not a number", "--1": "is not a number", "e5": "is not a number",
    "٣": "is not a number", "1d5": "is not a number", "true": "is not a number", "null": "is not a number",
    "3.5e38": "is beyond float32", "-1e999": "is beyond float32", "9" * 400: "is beyond float32",
    "\x00": "is not a number", "1\x00": "is not a number", "1\u2028": "is not a number",
}  # fmt: skip


@pytest.mark.parametrize("path", ["/predict", "/activations"])
@pytest.mark.parametrize("cell", BAD_CELLS)
def test_a_bad_cell_is_named_by_line_and_column(service: Running, cell: str, path: str) -> None:
    """The line as an editor counts it: the header is one, and so is each of a quoted cell's and each blank one."""
    body = f'n,fahrenheit\n"a\n\nb",50\n\nc,{cell}\nd,50\n'
    response = post(service, body, CSV, CSV, path)
    assert response.status_code == 422
    assert response.json()["errors"] == [{"pointer": "line 6, column fahrenheit", "detail": BAD_CELLS[cell]}]


WRONG_TABLES = {
    "a missing feature": ("celsius\n1\n", "line 1, column fahrenheit"),
    "no header": ("50\n60\n", "line 1, column fahrenheit"),
    "another case": ("Fahrenheit\n60\n", "line 1, column fahrenheit"),
    "a feature twice": ("fahrenheit,fahrenheit\n1,2\n", "line 1, column fahrenheit"),
    "another column twice": ("a,fahrenheit,a\n1,2,3\n", "line 1, column a"),
    "no name twice": (",fahrenheit,\n1,2,3\n", "line 1, column "),
    "too few values": ("a,fahrenheit\n1,50\n1\n", "line 3"),
    "too many values": ("a,fahrenheit\n1,50\n1,50,\n", "line 3"),
    "a separator at the end": ("fahrenheit\n50,\n", "line 2"),
    "a column that the answer needs": ("fahrenheit,out_of_range\n50,1\n", "column out_of_range"),
    "both names of the prediction": ("fahrenheit,celsius,predicted_celsius\n50,1,1\n", "column predicted_celsius"),
}


@pytest.mark.parametrize("name", WRONG_TABLES)
def test_wrong_tables_are_422(service: Running, name: str) -> None:
    """Named by line, and by column where it is one."""
    body, pointer = WRONG_TABLES[name]
    response = post(service, body, CSV, CSV)
    assert response.status_code == 422
    assert pointers(response) == [pointer]


NOT_PARSEABLE = {
    "empty": b"",
    "blank lines": b"\n\r\n\n",
    "a byte order mark alone": b"\xef\xbb\xbf",
    "UTF-16": "fahrenheit\n50\n".encode("utf-16"),
    "Latin-1": "fahrenheit,é\n50,é\n".encode("latin-1"),
    "an open quote": b'fahrenheit,a\n50,"x\n60,y\n',
    "text behind a quote": b'fahrenheit,a\n50,"x"y\n',
    "a cell without end": b"fahrenheit,a\n50," + b"x" * 200_000 + b"\n",
    "a line without end": b"fahrenheit" + b",x" * 1_000_000,
}


@pytest.mark.parametrize("name", NOT_PARSEABLE)
def test_what_is_not_csv_is_400(service: Running, name: str) -> None:
    """With the line where it stops being CSV, as far as there is one."""
    response = post(service, NOT_PARSEABLE[name], CSV)
    assert (response.status_code, response.json()["type"].rpartition(":")[2]) == (400, "not-parseable")


def test_every_bad_cell_of_a_small_table_is_named(service: Running) -> None:
    """At once, so that nobody has to try again and again; of very many, the first hundred."""
    assert pointers(post(service, "fahrenheit,n\nx,1\n1,2\n\n3\n,4\n", CSV)) == [
        "line 2, column fahrenheit",
        "line 5",
        "line 6, column fahrenheit",
    ]
    response = post(service, "fahrenheit\n" + "x\n" * 1_000_000, CSV)
    assert pointers(response) == [f"line {line}, column fahrenheit" for line in range(2, 102)]


def test_limits_hold(service: Running) -> None:
    """Of rows and of bytes, as for JSON."""
    assert post(service, "fahrenheit\n" + "1\n" * 1_000_001, CSV).status_code == 413
    assert post(service, "fahrenheit\n" + "\n" * 20_000_000, CSV).status_code == 413


@pytest.mark.parametrize("content_type", ["text/csv; charset=latin-1", "text/csv;charset=utf-16", "text/tsv"])
def test_other_charsets_and_types_are_415(service: Running, content_type: str) -> None:
    """Nothing is guessed; what is read is listed."""
    response = post(service, PLAIN, content_type)
    assert response.status_code == 415
    assert CSV in response.headers["accept-post"]


@pytest.mark.parametrize(
    "content_type", ["text/csv; charset=utf-8", 'Text/CSV;charset="UTF-8"', "text/csv;header=present"]
)
def test_csv_with_parameters_is_csv(service: Running, content_type: str) -> None:
    """As people's clients write them."""
    assert post(service, PLAIN, content_type).status_code == 200


def test_a_result_beyond_float32_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    """There is no number that could stand in its place."""
    (tmp_path / "steep.csv").write_text("x,y\n0,0\n1,1000\n2,2000\n3,3000\n")
    artifacts = tmp_path / "artifacts"
    publish(artifacts, "--data", str(tmp_path / "steep.csv"), "--hidden", "0", "--learning-rate", "0.1")
    with serving(artifacts) as running:
        running.until_ready()
        response = post(running, "x\n1\n\n3.4e38\n", CSV, CSV)
    assert response.status_code == 422
    assert pointers(response) == ["line 4, column x"]


def test_names_that_csv_must_quote(tmp_path: Path) -> None:
    """Those of an answer to JSON, and those that are added."""
    (tmp_path / "odd.csv").write_text('"a, ""b""",";c"\n1,2\n2,3\n3,5\n')
    artifacts = tmp_path / "artifacts"
    publish(artifacts, "--data", str(tmp_path / "odd.csv"))
    with serving(artifacts) as running:
        running.until_ready()
        answered = post(running, json.dumps({'a, "b"': [1.0]}), JSON, CSV).text
        again = post(running, 'n;"a, ""b"""\nx;1\n', CSV, CSV).text
    assert next(csv.reader(io.StringIO(answered))) == ['a, "b"', ";c", "out_of_range"]
    assert next(csv.reader(io.StringIO(again), delimiter=";")) == ["n", 'a, "b"', ";c", "out_of_range"]


def test_a_wide_file_is_read_by_its_features(service: Running) -> None:
    """Columns that no feature needs come back as they were, however many they are."""
    names = [f"c{at}" for at in range(10_000)]
    rows = [",".join(["1"] * 10_000 + [str(value)]) for value in (50, 68)]
    answer = post(service, "\n".join([",".join([*names, "fahrenheit"]), *rows]), CSV, CSV)
    assert answer.status_code == 200
    lines = answer.text.splitlines()
    assert [line.startswith(row + ",") for line, row in zip(lines[1:], rows, strict=True)] == [True, True]


@pytest.mark.parametrize("text", ["fahrenheit\n" + "1" * 2**22, "," * 2**22, "fahrenheit\r" + "1\r" * 70_000 + "x"])
def test_long_and_odd_lines_are_refused(service: Running, text: str) -> None:
    """A line without an end, and old line ends with one wrong value behind them."""
    assert post(service, text, CSV).status_code in {400, 422}
