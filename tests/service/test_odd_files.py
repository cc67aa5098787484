"""Odd files in the artifacts folder: nothing waits for one, no other model is kept from anything, and each is named."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import odd
from folders import QUICK, SECONDS, answering, warnings
from running import Running, publish, serving

Make = Callable[[Path], None]


@pytest.fixture(scope="module")
def running(two: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service of another copy, in which each test puts everything back."""
    copy = shutil.copytree(two, tmp_path_factory.mktemp("running") / "artifacts")
    with serving(copy, *QUICK, through=odd.UNPRIVILEGED) as running:
        running.until_ready()
        running.until(lambda client: answering(client, "/models/thermometer/versions/2/predict") == "2")
        running.until(lambda client: answering(client, "/models/other/predict") is not None)
        yield running


def other_goes_on(running: Running) -> None:
    """A new version of another model goes live, and the folder is looked at to its end."""
    publish(running.artifacts, "--model", "other")
    newest = str(max(int(path.name) for path in (running.artifacts / "other").iterdir() if path.name.isdigit()))
    running.until(lambda client: answering(client, "/models/other/predict") == newest, SECONDS)


@pytest.mark.parametrize("make", [*odd.FILES, *odd.CONTENTS], ids=lambda make: make.__name__)
def test_a_damaged_label_keeps_what_it_stood_for(running: Running, make: Make) -> None:
    """A label whose file becomes odd goes on standing for its version, and the model's warnings say so."""
    champion = running.artifacts / "thermometer" / "labels" / "champion"
    kept = odd.put(make, champion)
    try:
        running.until(lambda client: "labels/champion" in warnings(client), SECONDS)
        text = warnings(running.client)
        assert "goes on standing for version 1" in text
        assert "python -m training label thermometer champion 1" in text
        assert answering(running.client) == "1"
        assert answering(running.client, "/models/thermometer/versions/champion/predict") == "1"
        assert running.client.get("/readyz").status_code == 200
        assert 'calibrant_warnings{model="thermometer"} 1.0' in running.client.get("/metrics").text
    finally:
        odd.put_back(kept, champion)
    running.until(lambda client: not warnings(client), SECONDS)
    assert answering(running.client) == "1"


@pytest.mark.parametrize("make", [odd.fifo, odd.folder, odd.dangling, odd.unreadable, odd.holding(b"abc")])
def test_an_odd_label_that_was_none_changes_nothing(running: Running, make: Make) -> None:
    """An odd file at a new label's place is named, other models go on, and a label that stood for nothing is 404."""
    odd_label = running.artifacts / "thermometer" / "labels" / "candidate"
    make(odd_label)
    try:
        running.until(lambda client: "labels/candidate" in warnings(client), SECONDS)
        other_goes_on(running)
        assert running.client.get("/models/thermometer/versions/candidate").status_code == 404
        assert answering(running.client) == "1"
    finally:
        odd.remove(odd_label)
    running.until(lambda client: not warnings(client), SECONDS)


@pytest.mark.parametrize("make", [kind for kind in odd.FILES if kind not in (odd.folder, odd.empty_folder)])
@pytest.mark.parametrize("place", ["thermometer", "thermometer/labels", "thermometer/2", "thermometer/2/network.pt"])
def test_an_odd_entry_in_the_place_of_what_serves_takes_nothing_away(running: Running, make: Make, place: str) -> None:
    """Whatever becomes of a model's folder, its labels or a version, what serves goes on serving, and the rest too."""
    kept = odd.put(make, running.artifacts / place)
    try:
        running.until(lambda client: said(client) != "", SECONDS)
        other_goes_on(running)
        assert answering(running.client) == "1"
        assert answering(running.client, "/models/thermometer/versions/2/predict") == "2"
        assert running.client.get("/readyz").status_code == 200
    finally:
        odd.put_back(kept, running.artifacts / place)
    running.until(lambda client: said(client) == "", SECONDS)


def said(client: httpx.Client) -> str:
    """Every warning and reason of the thermometer."""
    model = client.get("/models/thermometer").json()
    return " ".join([*model["warnings"], *(version["reason"] or "" for version in model["versions"])]).strip()


@pytest.mark.parametrize("make", [*odd.FILES, odd.holding(b""), odd.holding(b"No Name"), odd.holding(b"missing\n")])
def test_a_damaged_default_model_stays_the_default(running: Running, make: Make) -> None:
    """The model of unnamed requests stays when its file becomes odd or names a model that is not there."""
    path = running.artifacts / "default_model.txt"
    kept = odd.put(make, path)
    try:
        running.until(lambda client: "default_model.txt" in " ".join(client.get("/models").json()["warnings"]), SECONDS)
        assert answering(running.client, "/predict") == "1"
        assert running.client.get("/readyz").status_code == 200
        other_goes_on(running)
    finally:
        odd.put_back(kept, path)
    running.until(lambda client: client.get("/models").json()["warnings"] == [], SECONDS)


def test_an_unmounted_folder_takes_nothing_out_of_service(artifacts: Path) -> None:
    """Another folder that is empty, in the place of the models or of one of them, is no removal; /models says so."""
    with serving(artifacts, *QUICK) as running:
        running.until(lambda client: answering(client) == "1")
        for place in (artifacts / "thermometer", artifacts):
            kept = odd.put(odd.empty_folder, place)
            running.until(lambda client: "is it mounted?" in client.get("/models").text, SECONDS)
            assert answering(running.client) == "1"
            odd.put_back(kept, place)
            running.until(lambda client: "is it mounted?" not in client.get("/models").text, SECONDS)


def test_a_crowded_folder_delays_nobody(artifacts: Path) -> None:
    """Among 12,000 odd entries in each folder new versions go live in time."""
    places = [
        artifacts,
        artifacts / "thermometer",
        artifacts / "thermometer" / "labels",
        artifacts / "thermometer" / "1",
    ]
    with serving(artifacts) as running:
        running.until_ready()
        for place in places:
            for number in range(12_000):
                (place / f"file{number}").touch()
            (place / "odd\n\udcff name").touch()
        publish(artifacts)
        running.until(lambda client: answering(client, "/models/thermometer/versions/3/predict") == "3", SECONDS)
        assert answering(running.client) == "1"
