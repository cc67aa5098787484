"""``interval``: bounds for every answer, through every door and in every form, or an error that says what there is."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forms import ARROW, CSV, JSON, as_float32, from_arrow, lines, pointers, post, to_arrow
from left_out import LeftOutFits, fit, published, without_intervals
from running import Running, serving, serving_through_each_door
from service.__main__ import main
from service.client import Client
from service.intervals import level as level_of
from service.manifest import Bounds, Interval
from service.problems import WrongValues
from tensors import error, outputs, request, tensor

TABLE = {"fahrenheit": [50.0, 68.0, 212.0]}
ROWS = np.array([[50.0], [68.0], [212.0]])
WIDE = "a,b,c,d\n" + "\n".join(f"{row},{row * row % 7},{row % 3 + row / 9},{2 * row % 11}" for row in range(23))
# Of eleven readings: the level, and which smallest and largest bound gives it.
RANKS = [("0.9", 1), ("0.8", 2), ("0.5", 6), ("0.91", 1), ("0.01", 11), (".75", 3), ("5e-1", 6), ("0.90000", 1)]


@pytest.fixture(scope="module")
def eleven() -> LeftOutFits:
    """Jackknife+ of eleven readings."""
    return fit()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> LeftOutFits:
    """CV+ in five folds of 23 readings of two features and two targets."""
    data = tmp_path_factory.mktemp("wide") / "wide.csv"
    data.write_text(WIDE)
    return fit(data, ["c", "d"], folds=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, eleven: LeftOutFits, wide: LeftOutFits) -> Path:
    """Both, published, and an older one."""
    artifacts = tmp_path_factory.mktemp("intervals")
    published(artifacts, eleven)
    published(artifacts, replace(eleven, run=without_intervals(eleven.run)), "older")
    published(artifacts, wide, "wide")
    return artifacts


@pytest.fixture(scope="module")
def bounded(folder: Path) -> Iterator[Running]:
    """A service of both."""
    with serving(folder) as running:
        running.until(lambda client: client.get("/models/wide/report").status_code == 200)
        running.until_ready()
        yield running


def ask(service: Running, level: str, table: object = TABLE, path: str = "/predict") -> httpx.Response:
    """A prediction in JSON, with an interval."""
    return service.client.post(f"{path}?interval={level}", json=table)


@pytest.mark.parametrize(("level", "rank"), RANKS)
def test_bounds_are_the_paper_s(bounded: Running, eleven: LeftOutFits, level: str, rank: int) -> None:
    """Of the level that is asked for, behind the predictions; these are the same as without."""
    plain = bounded.client.post("/predict", json=TABLE).json()
    answer = ask(bounded, level)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert list(found) == ["model", "version", "predictions", "interval", "out_of_range"]
    interval = found.pop("interval")
    assert found == plain
    assert list(interval) == ["coverage", "guaranteed", "celsius"]
    assert interval["coverage"] == float(level)
    assert interval["guaranteed"] == pytest.approx(max(0, 2 * float(level) - 1))
    lower, upper = eleven.bounds(ROWS, rank)
    np.testing.assert_allclose(interval["celsius"]["lower"], lower[:, 0], rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(interval["celsius"]["upper"], upper[:, 0], rtol=1e-5, atol=2e-5)


def test_cv_plus_says_what_folds_guarantee(bounded: Running, wide: LeftOutFits) -> None:
    """Less than jackknife+, by the lesser of two terms; for each of two targets."""
    table = {"a": [3.0, 9.5], "b": [1.0, 4.0]}
    interval = ask(bounded, "0.75", table, "/models/wide/versions/1/predict").json()["interval"]
    n, k = 23, 5
    lost = min(2 * (1 - 1 / k) / (n / k + 1), (1 - k / n) / (k + 1))
    assert interval["guaranteed"] == pytest.approx(1 - 2 * 0.25 - lost)
    lower, upper = wide.bounds(np.array([[3.0, 1.0], [9.5, 4.0]]), 6)
    for at, target in enumerate(("c", "d")):
        np.testing.assert_allclose(interval[target]["lower"], lower[:, at], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(interval[target]["upper"], upper[:, at], rtol=1e-5, atol=1e-4)
    assert ask(bounded, "0.1", table, "/models/wide/predict").json()["interval"]["guaranteed"] == 0


@given(readings=st.integers(2, 1000), folds=st.integers(2, 1000), digits=st.integers(1, 999_999))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_ranks_are_exact(readings: int, folds: int, digits: int) -> None:
    """The largest whole number up to (1 - coverage) (n + 1), or a refusal whose words are right."""
    made_of = Interval(
        method="cv+", readings=readings, folds=min(folds, readings), golden=Bounds(rank=1, lower=(), upper=())
    )
    left = 1_000_000 - digits
    rank = left * (readings + 1) // 1_000_000
    if rank:
        found = level_of(f"0.{digits:06}", made_of)
        assert found.rank == rank
        assert 0 <= found.guaranteed <= max(0, 2 * found.coverage - 1 + 1e-12)
        return
    with pytest.raises(WrongValues) as refused:
        level_of(f"0.{digits:06}", made_of)
    highest, needed = re.findall(r"above ([0-9.]+), .* it needs ([0-9]+)", str(refused.value))[0]
    assert left * (int(needed) + 1) >= 1_000_000 > left * int(needed)
    assert int((1 - Fraction(highest)) * (readings + 1)) >= 1


def test_nine_readings_can_just_give_nine_of_ten() -> None:
    """In floats, they could not."""
    made_of = Interval(method="jackknife+", readings=9, folds=9, golden=Bounds(rank=1, lower=(), upper=()))
    assert level_of("0.9", made_of).rank == 1


def test_no_rows_have_no_bounds(bounded: Running) -> None:
    """An empty table is a table."""
    interval = ask(bounded, "0.8", {"fahrenheit": []}).json()["interval"]
    assert interval["celsius"] == {"lower": [], "upper": []}


def test_a_level_that_the_readings_cannot_give_says_which_is_the_highest(bounded: Running) -> None:
    """And how many readings the wanted one needs: 0.95 needs 19."""
    answer = ask(bounded, "0.95")
    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        "query: interval is above 0.9166, the highest that 11 readings can give; it needs 19"
    )
    assert pointers(answer) == ["query: interval"]
    assert ask(bounded, "0.9166").status_code == 200
    assert ask(bounded, "0.9167").status_code == 422
    nines = "0." + 30 * "9"
    assert ask(bounded, nines).json()["detail"].endswith(f"it needs {10**30 - 1}")


HOSTILE = [
    "", "x", "nan", "inf", "-0.9", "0", "1", "1.0", "0.0", "95", "90%", "0.9;0.8", "0,9", "0x1", "1e-999", "9" * 40,
    "0." + "9" * 60, "0.9 ", "%00", "%ff", "½", "1_0", "1/2", "true", "null", "1e999", "\u0660.\u0669", "[0.9]", "+0.9",
    "0.9&interval=0.8", "0.9&x=1", "1e9999",
]  # fmt: skip


@pytest.mark.parametrize("level", HOSTILE)
@pytest.mark.parametrize("form", [JSON, CSV])
def test_a_level_that_is_none_is_refused(bounded: Running, level: str, form: str) -> None:
    """Whatever it is, with the query parameter's name, and no sooner or later than the other doors would."""
    answer = bounded.client.post(
        f"/predict?interval={level}", content=b'{"fahrenheit":[50]}', headers={"content-type": JSON, "accept": form}
    )
    assert answer.status_code == 422, answer.text
    assert pointers(answer)[0].startswith("query: ")
    json.loads(answer.content, parse_constant=pytest.fail)


def test_an_older_version_answers_without_intervals(bounded: Running) -> None:
    """It serves on, and where an interval is asked for says that it has none."""
    assert bounded.client.post("/models/older/predict", json=TABLE).status_code == 200
    assert bounded.client.get("/models/older/versions/1").json()["manifest"]["interval"] is None
    answer = ask(bounded, "0.9", path="/models/older/predict")
    assert answer.status_code == 422
    assert answer.json()["detail"] == "query: interval asks for an interval, and this version has none"


def test_a_manifest_without_the_key_is_read(folder: Path, tmp_path: Path, version: Path) -> None:
    """As those are that were written before there were intervals."""
    manifest = json.loads((version / "manifest.json").read_text())
    assert manifest.pop("interval") is None
    (version / "manifest.json").write_text(json.dumps(manifest))
    assert main(["check", "--artifacts", str(version.parents[1])]) == 0


def test_the_manifest_says_what_can_be_asked_for(bounded: Running) -> None:
    """Method, readings and folds, under /models."""
    found = bounded.client.get("/models/wide/versions/1").json()["manifest"]["interval"]
    assert (found["method"], found["readings"], found["folds"]) == ("cv+", 23, 5)


def test_activations_have_no_interval(bounded: Running) -> None:
    """The option is refused, and not ignored."""
    assert pointers(ask(bounded, "0.9", path="/activations")) == ["query: interval"]


def by_form(service: Running, sent: str, wanted: str, level: str) -> list[list[float]]:
    """Predictions, lower and upper, in one of the forms."""
    body = {
        JSON: json.dumps(TABLE).encode(),
        CSV: b"fahrenheit\n50\n68\n212\n",
        ARROW: to_arrow(pa.table({"fahrenheit": pa.array(TABLE["fahrenheit"], pa.float32())})),
    }
    answer = post(service, body[sent], sent, wanted, f"/predict?interval={level}")
    names = ["celsius", "celsius_lower", "celsius_upper"]
    if wanted == JSON:
        found = answer.json()
        bounds = found["interval"]["celsius"]
        return [as_float32(part) for part in (found["predictions"]["celsius"], bounds["lower"], bounds["upper"])]
    if wanted == ARROW:
        table = from_arrow(answer)
        assert table.column_names == ["fahrenheit", *names, "out_of_range"]
        return [table[name].to_pylist() for name in names]
    head, *rows = [line.split(",") for line in lines(answer)]
    assert head == ["fahrenheit", *names, "out_of_range"]
    return [as_float32([float(row[at]) for row in rows]) for at in (1, 2, 3)]


@pytest.mark.parametrize("level", ["0.9", "0.6"])
def test_every_form_says_the_same(bounded: Running, level: str) -> None:
    """JSON, CSV, Arrow in and out, and /v2, bit for bit."""
    forms = [JSON, CSV, ARROW]
    found = [by_form(bounded, sent, wanted, level) for sent in forms for wanted in forms]
    for binary in (False, True):
        asked = request(
            tensor([[50], [68], [212]]), parameters={"interval": float(level), "binary_data_output": binary}
        )
        answer = outputs(bounded.client.post("/v2/models/thermometer/infer", json=asked))
        assert list(answer) == ["predictions", "out_of_range", "lower", "upper"]
        found.append([answer[name][:, 0].tolist() for name in ("predictions", "lower", "upper")])
    assert all(one == found[0] for one in found)


def test_a_column_of_a_bound_s_name_stays_as_it_is(bounded: Running) -> None:
    """What the table has is not written over."""
    answer = post(bounded, "fahrenheit,celsius,celsius_upper\n50,9,x\n", CSV, CSV, "/predict?interval=0.9")
    assert lines(answer)[0] == (
        "fahrenheit,celsius,celsius_upper,predicted_celsius,celsius_lower,predicted_celsius_upper,out_of_range"
    )


def test_the_protocol_names_bounds_and_level(bounded: Running) -> None:
    """In the metadata of a version with intervals, and in what it answers; two targets wide."""
    names = [output["name"] for output in bounded.client.get("/v2/models/wide").json()["outputs"]]
    assert names == ["predictions", "out_of_range", "lower", "upper"]
    assert len(bounded.client.get("/v2/models/older").json()["outputs"]) == 2
    asked = request(tensor([[3, 1]], [1, 2]), parameters={"interval": 0.8}, outputs=[{"name": "upper"}, {"name": "d"}])
    answer = bounded.client.post("/v2/models/wide/infer", json=asked)
    assert {name: value.shape for name, value in outputs(answer).items()} == {"upper": (1, 2), "d": (1,)}
    assert answer.json()["parameters"]["coverage"] == 0.8


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"parameters": {"interval": 0.95}}, "/parameters/interval is above 0.9166, the highest that 11 readings can"),
        ({"parameters": {"interval": 1}}, "/parameters/interval is not between 0 and 1"),
        ({"parameters": {"interval": -0.5}}, "/parameters/interval is not a number, such as 0.9"),
        ({"parameters": {"interval": "0.9"}}, "/parameters/interval"),
        ({"parameters": {"interval": True}}, "/parameters/interval"),
        ({"outputs": [{"name": "lower"}]}, "/outputs/0/name: lower needs the request's parameter interval"),
    ],
)
def test_the_protocol_refuses_what_cannot_be(bounded: Running, more: dict[str, Any], message: str) -> None:
    """With the place in the request."""
    answer = bounded.client.post("/v2/models/thermometer/infer", json=request(tensor([[50]]), **more))
    assert error(answer, 400).startswith(message)


def test_every_door_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """The fast door, the portable one and the route; right answers and wrong levels."""
    with serving_through_each_door(folder, tmp_path) as doors:
        for level in ("0.9", "0.5", "0.95", "x"):
            answers = {ask(door, level).content for door in doors for _ in range(3)}
            assert len(answers) == 1, level


def test_levels_at_the_same_time_do_not_mix(bounded: Running, eleven: LeftOutFits) -> None:
    """A hundred clients ask for one of several levels, or none, at once, few rows and many; each gets its own."""
    expected = {}
    for level, rank in (("0.9", 1), ("0.8", 2), ("0.5", 6), ("0.25", 9)):
        lower, upper = eleven.bounds(np.linspace(0, 100, 3000)[:, None], rank)
        expected[level] = (lower[:, 0], upper[:, 0])
    levels = [*expected, None]

    def check(number: int) -> None:
        level, rows = levels[number % len(levels)], slice(number % 7, 3000 if number % 9 == 0 else number % 7 + 3)
        table = {"fahrenheit": np.linspace(0, 100, 3000)[rows].tolist()}
        query = f"?interval={level}" if level else ""
        found = httpx.post(f"{bounded.url}/predict{query}", json=table, timeout=60)
        assert found.status_code == 200, found.text
        assert ("interval" in found.json()) == bool(level)
        if level:
            bounds = found.json()["interval"]["celsius"]
            np.testing.assert_allclose(bounds["lower"], expected[level][0][rows], rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(bounds["upper"], expected[level][1][rows], rtol=1e-4, atol=1e-4)

    with ThreadPoolExecutor(16) as clients:
        list(clients.map(check, range(300)))


def test_limits_and_deadlines_hold(folder: Path) -> None:
    """A full queue is a 503, a passed deadline a 504, a long table a 413; what was answered is counted, and no more."""
    with serving(folder, "--max-queue-rows", "1000", "--max-rows", "2000") as running:
        running.until_ready()
        assert ask(running, "0.9", {"fahrenheit": [50.0] * 2001}).status_code == 413
        refused = ask(running, "0.9", {"fahrenheit": [50.0] * 2000})
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert ask(running, "0.9").status_code == 200
        late = running.client.post(
            "/predict?interval=0.9",
            content="fahrenheit\n" + "50.125\n" * 1000 + 100_000 * "\n",
            headers={"content-type": CSV, "x-request-timeout-ms": "1"},
        )
        assert late.status_code == 504
        text = running.client.get("/metrics").text
        assert 'calibrant_rows_total{model="thermometer",version="1"} 3.0' in text
        assert 'calibrant_feature_values_count{feature="fahrenheit",model="thermometer",version="1"} 3.0' in text


def test_the_client_gets_bounds(bounded: Running, eleven: LeftOutFits) -> None:
    """As lists, arrays and Arrow tables."""
    lower, upper = eleven.bounds(ROWS, 1)
    with Client(bounded.url) as client:
        table = client.predict(TABLE, interval=0.9)
        assert list(table) == ["fahrenheit", "celsius", "celsius_lower", "celsius_upper", "out_of_range"]
        array = client.predict(ROWS, interval=0.9)
        arrow = client.predict(pa.table(TABLE), interval=0.9)
        wide = client.predict(np.array([[3.0, 1.0]]), interval=0.8, model="wide")
    assert array.shape == (3, 1, 3)
    assert wide.shape == (1, 2, 3)
    np.testing.assert_allclose(array[:, 0, 1], lower[:, 0], rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(array[:, 0, 2], upper[:, 0], rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(table["celsius_upper"], array[:, 0, 2], rtol=1e-6)
    np.testing.assert_allclose(arrow["celsius_lower"].to_numpy(), array[:, 0, 1], rtol=1e-6)


def test_the_command_gives_bounds(bounded: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As CSV; a level that cannot be is said on stderr."""
    (tmp_path / "x.csv").write_text("fahrenheit\n50\n")
    command = ["predict", str(tmp_path / "x.csv"), "--url", bounded.url, "--interval"]
    assert main([*command, "0.9"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head == "fahrenheit,celsius,celsius_lower,celsius_upper,out_of_range"
    point, lower, upper = map(float, row.split(",")[1:4])
    assert lower < point < upper
    assert main([*command, "0.95"]) == 1
    assert "the highest that 11 readings can give" in capsys.readouterr().err
