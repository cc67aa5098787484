"""``fit --tensorboard``: the run, as TensorBoard reads it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from service.artifact import needed

Command = Callable[..., tuple[int, str, str]]


def test_losses_and_configuration_are_read_back(tmp_path: Path, command: Command) -> None:
    """Each epoch's losses are those of the record; flags, seed and data are the run's configuration."""
    flags = ["--epochs", 7, "--seed", 3, "--hidden", "4,2", "--tensorboard", tmp_path / "logs"]
    assert command("fit", *flags, "--artifacts", tmp_path)[0] == 0
    read = EventAccumulator(str(tmp_path / "logs" / "thermometer" / "1")).Reload()
    report = json.loads((tmp_path / "thermometer/1/report.json").read_text())
    for name, curve in report["losses"].items():
        found = read.Scalars(f"loss/{name}")
        assert [event.step for event in found] == list(range(1, 8))
        assert [event.value for event in found] == pytest.approx(curve, rel=1e-6)
    kept = read.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    configuration = HParamsPluginData.FromString(kept).session_start_info.hparams
    assert configuration["hidden"].string_value == "4,2"
    assert configuration["learning_rate"].number_value == 1e-3
    assert configuration["seed"].number_value == 3
    assert configuration["sha256"].string_value == report["training"]["data"]["sha256"]


def test_without_tensorboard_the_extra_is_named_before_training(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run stops at once, and nothing is published."""
    monkeypatch.setattr("training.tensorboard.util.find_spec", lambda name: None)
    status, out, error = command("fit", "--tensorboard", tmp_path / "logs", "--artifacts", tmp_path)
    assert (status, out) == (2, "")
    assert error == f"error: {needed('--tensorboard', 'tensorboard')}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_stops_before_training(tmp_path: Path, command: Command) -> None:
    """It is named, and nothing is published."""
    (tmp_path / "logs").write_text("")
    status, out, error = command("fit", "--tensorboard", tmp_path / "logs", "--artifacts", tmp_path / "artifacts")
    assert (status, out, error) == (2, "", f"error: {tmp_path}/logs: is not a directory\n")
    assert not (tmp_path / "artifacts").exists()
