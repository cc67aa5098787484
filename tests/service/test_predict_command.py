"""``python -m service predict``: a CSV file in, the same rows with their predictions out."""

import csv
import io
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from faults import answers, faulty, problem
from running import Running
from service.__main__ import main

CSV = 'note,fahrenheit,other\n"a, b",50.0,x\n,+6.8e1,\n\n"say ""c""", 212,007\n'


def predict(*flags: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with a text on its standard input."""
    command = [sys.executable, "-m", "service", "predict", *flags]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with the rows."""
    path = tmp_path / "readings.csv"
    path.write_text(CSV, encoding="utf-8")
    return path


def test_the_rows_come_back_with_their_predictions(
    service: Running, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every cell as it was, in order, and the columns of the answer behind them."""
    assert main(["predict", str(file), "--url", service.url]) == 0
    header, *rows = csv.reader(io.StringIO(capsys.readouterr().out, newline=""))
    assert header == ["note", "fahrenheit", "other", "celsius", "out_of_range"]
    assert [row[:3] for row in rows] == [["a, b", "50.0", "x"], ["", "+6.8e1", ""], ['say "c"', " 212", "007"]]
    expected = service.client.post("/predict", json={"fahrenheit": [50.0, 68.0, 212.0]}).json()
    assert [float(row[3]) for row in rows] == expected["predictions"]["celsius"]
    assert [row[4] for row in rows] == ["false", "false", "true"]


def test_standard_input_is_a_dash(service: Running) -> None:
    """With a byte order mark and semicolons, as spreadsheets write them; they come back as semicolons."""
    ended = predict("-", "--url", service.url, "--model", "thermometer", "--version", "1",
                    text="\ufefffahrenheit;celsius\n50;9\n")  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    header, row = ended.stdout.splitlines()
    assert header == "fahrenheit;celsius;predicted_celsius;out_of_range"
    assert row.startswith("50;9;")
    assert row.endswith(";false")


def test_a_large_file_comes_back_in_order(service: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """More rows than one request has."""
    values = np.random.default_rng(0).uniform(20, 90, size=120_000).round(2).tolist()
    (tmp_path / "large.csv").write_text("fahrenheit\n" + "\n".join(map(str, values)) + "\n")
    assert main(["predict", str(tmp_path / "large.csv"), "--url", service.url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [float(line.partition(",")[0]) for line in lines[1:]] == values


def test_a_reader_that_stops_is_no_error(service: Running, tmp_path: Path) -> None:
    """As in ``| head -1``."""
    (tmp_path / "large.csv").write_text("fahrenheit\n" + "50.0\n" * 50_000)
    command = [sys.executable, "-m", "service", "predict", str(tmp_path / "large.csv"), "--url", service.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"fahrenheit,celsius,out_of_range\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0


def test_bounds_are_columns_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--interval``; a bound that is infinite, which JSON cannot say, is an empty cell."""
    (tmp_path / "x.csv").write_text("x\n1\n")
    manifest = {"features": [{"name": "x"}], "targets": [{"name": "y"}]}
    answer = {"predictions": {"y": [1.5]}, "out_of_range": [], "interval": {"y": {"lower": [1], "upper": [None]}}}
    named = answers(200, {"model": "m", "version": "3"})
    with faulty(
        [named, answers(200, {"model": "m", "version": "3", "manifest": manifest}), answers(200, answer)]
    ) as it:
        assert main(["predict", str(tmp_path / "x.csv"), "--url", it.url, "--interval", "0.9"]) == 0
        assert "?interval=0.9 " in it.heads[2]
    assert capsys.readouterr().out == "x,y,y_lower,y_upper,out_of_range\n1,1.5,1.0,,false\n"


def test_the_key_comes_from_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no list of processes shows it."""
    monkeypatch.setenv("CALIBRANT_API_KEY", "s3cret")
    with faulty([problem(401, "unauthorized")]) as server:
        assert main(["predict", str(file), "--url", server.url]) == 1
        assert "bearer s3cret" in server.heads[0].lower()
    assert capsys.readouterr().err == "error: it is unauthorized\n"
    monkeypatch.setenv("CALIBRANT_API_KEY", "s3cret\n")
    assert main(["predict", str(file), "--url", server.url]) == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"fahrenheit\n\xff\n", "is not UTF-8 text"),
        (b"celsius\n1\n", "the table has no column fahrenheit"),
        (b"fahrenheit,fahrenheit\n1,2\n", "line 1: two columns have one name"),
        (b"fahrenheit,x\n1,2\n\n3\n", "line 4: the columns are 2, and the values 1"),
        (b"fahrenheit,x\n1,2\n\nwarm,3\n", "line 4, column fahrenheit: 'warm' is not a finite float32 number"),
        (b"fahrenheit,x\n,3\n", "line 2, column fahrenheit: '' is not"),
        ("fahrenheit\n\u0665\n".encode(), "line 2, column fahrenheit: '\u0665' is not"),
        (b"fahrenheit\nnan\n", "line 2, column fahrenheit: 'nan' is not"),
        (b"fahrenheit\n1e39\n", "line 2, column fahrenheit: '1e39' is not"),
        (b"fahrenheit\n1_0\n", "line 2, column fahrenheit: '1_0' is not"),
        (b'fahrenheit\n"1\n', "line 2: unexpected end of data"),
        (None, "No such file or directory"),
    ],
)
def test_a_bad_file_is_one_line_and_status_2(
    service: Running, tmp_path: Path, content: bytes | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the line and the column, and nothing is written."""
    path = tmp_path / "bad.csv"
    if content is not None:
        path.write_bytes(content)
    assert main(["predict", str(path), "--url", service.url]) == 2
    check_error(capsys, says)


def test_what_the_service_refuses_is_one_line_and_status_1(
    service: Running, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the service's own words."""
    assert main(["predict", str(file), "--url", service.url, "--model", "other"]) == 1
    check_error(capsys, "there is no model of that name; there are: thermometer")


def test_a_service_that_is_not_there_is_one_line_and_status_1(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After the time that it was given."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert main(["predict", str(file), "--url", f"http://127.0.0.1:{port}", "--timeout", "0.5"]) == 1
    check_error(capsys, f"http://127.0.0.1:{port}")


def test_a_bad_url_is_one_line_and_status_2(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is asked."""
    assert main(["predict", str(file), "--url", "localhost:8000"]) == 2
    check_error(capsys, "'localhost:8000' is not the URL of a service")


def check_error(capsys: pytest.CaptureFixture[str], says: str) -> None:
    """One line on stderr with this in it, nothing on stdout."""
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert says in error


def test_it_starts_without_torch(service: Running, file: Path) -> None:
    """Nor with what serves: a command in a loop of a shell has to be quick."""
    script = (
        "import sys; from service.__main__ import main; status = main(sys.argv[1:]);"
        "sys.exit(status or len({'torch', 'fastapi', 'uvicorn', 'pandas', 'tqdm'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, "predict", str(file), "--url", service.url]
    assert subprocess.run(command, capture_output=True, env=os.environ, timeout=60, check=False).returncode == 0
