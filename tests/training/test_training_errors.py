"""What the training commands say and return when they cannot do what they were asked."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from training import loop
from training.errors import DivergedError

Command = Callable[..., tuple[int, str, str]]
Process = Callable[..., "subprocess.Popen[str]"]
Write = Callable[[str | bytes], Path]

TABLE = "a,b\n1,2\n3,4\n5,7\n"

BAD_FLAGS = [
    (["--epochs", "0"], "argument --epochs: '0' is not a whole number from 1 to 10000000"),
    (["--epochs", "1.5"], "argument --epochs: '1.5' is not a whole number"),
    (["--learning-rate", "0"], "argument --learning-rate: '0' is not a number above 0"),
    (["--learning-rate", "1e300"], "'1e300' is not a number above 0, and at most 1e+06"),
    (["--learning-rate", "nan"], "argument --learning-rate: 'nan' is not a number above 0"),
    (["--learning-rate", "fast"], "argument --learning-rate: 'fast' is not a number above 0"),
    (["--validation-fraction", "1"], "argument --validation-fraction: '1' is not a number from 0 to below 1"),
    (["--hidden", "8,0"], "argument --hidden: '0' is not a whole number from 1 to 1024"),
    (["--hidden", "-1"], "argument --hidden"),
    (["--hidden", "1,1,1,1,1,1,1,1,1"], "argument --hidden: 9 layers are more than 8"),
    (["--activation", "cubic"], "argument --activation: invalid choice: 'cubic'"),
    (["--optimizer", "lbfgs"], "argument --optimizer: invalid choice: 'lbfgs'"),
    (["--seed", "-1"], "argument --seed"),
    *(
        (["--seed", text], "--seed")
        for text in ("", "+5", " 5", "5_0", "0x5", "1e2", "\u0665", "\uff15", "9" * 5000, "4294967296")
    ),
    *((["--learning-rate", text], "--learning-rate") for text in ("", " 5", "1_0", "0x1", "\u0665", "inf", "1e999")),
    *(
        (["--validation-fraction", text], "--validation")
        for text in ("", "0,1", "0.0_1", "\u0660.\u0661", "nan", " 0.1")
    ),
    (["--device", "abacus"], "argument --device: invalid choice: 'abacus'"),
    (["--unit", "degC"], "argument --unit: 'degC' is not COLUMN=UNIT"),
    (["--unit", f"celsius={'C' * 101}"], "argument --unit: a unit must be 1 to 100 printable characters"),
    (["--unit", "celsius=de\ng"], "argument --unit: a unit must be 1 to 100 printable characters"),
    (["--unit", "kelvin=K"], "thermometer.csv, line 1: has no column 'kelvin'; its columns are fahrenheit, celsius"),
    (["--target", "kelvin"], "thermometer.csv, line 1: has no column 'kelvin'; its columns are fahrenheit, celsius"),
    (["--target", "celsius", "--target", "celsius"], "--target names a column twice"),
    (["--target", "celsius", "--target", "fahrenheit"], "line 1: has no column left to be a feature"),
    (["--model", "Thermo Meter"], "'Thermo Meter' cannot name a model (lower-case letters"),
    (["--validation-fraction", "0.95"], "--validation-fraction 0.95 leaves 1 of 11 rows to train on, and 2 are needed"),
    (["--data", "no-such.csv"], "no-such.csv: No such file or directory"),
    (["--colour", "red"], "unrecognized arguments: --colour red"),
    (["--epo", "3"], "unrecognized arguments: --epo 3"),
]


@pytest.mark.parametrize(("flags", "message"), BAD_FLAGS)
def test_a_bad_flag_is_one_line_and_status_2(flags: list[str], message: str, command: Command, tmp_path: Path) -> None:
    """The line names the flag or the column, nothing is printed besides, and nothing is written."""
    status, out, error = command("fit", *flags, "--artifacts", tmp_path / "artifacts")
    assert (status, out) == (2, "")
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize("zeros", [1, 20, 5000])
def test_leading_zeros_change_no_flag(zeros: int, command: Command, tmp_path: Path) -> None:
    """A whole number is read to its last digit, however many zeros it begins with."""
    flags = ["--recipe", "textbook", "--epochs", "0" * zeros + "2", "--seed", "0" * zeros + "3"]
    status, _, error = command("fit", *flags, "--artifacts", tmp_path)
    assert status == 0, error
    manifest = json.loads((tmp_path / "thermometer" / "1" / "manifest.json").read_text())
    assert (manifest["training"]["recipe"]["epochs"], manifest["training"]["seed"]) == (2, 3)


@pytest.mark.parametrize("limit", ["rmse=inf", "rmse=1_0", "rmse=\u0665", "rmse= 1", "rmse=1e999", "rmse="])
def test_a_limit_that_is_no_number_is_refused(limit: str, command: Command, tmp_path: Path, table: Write) -> None:
    """A limit that no measure can pass or fail is refused, instead of holding for every version."""
    status, out, error = command(
        "evaluate", "--model", "x", "--data", table(TABLE), "--fail-above", limit, "--artifacts", tmp_path
    )
    assert (status, out) == (2, "")
    assert "is not MEASURE=NUMBER" in error


@pytest.mark.parametrize("arguments", [[], ["bake"], ["compare", "--seed", "x"], ["label", "thermometer"]])
def test_a_bad_command_is_one_line_and_status_2(arguments: list[str], command: Command) -> None:
    """A missing or unknown command, and missing arguments, are bad input too."""
    status, out, error = command(*arguments)
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert error.startswith("error: ")


def test_cuda_that_is_not_there_is_bad_input(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--device cuda`` never falls back; ``auto`` does."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    status, _, error = command("fit", "--device", "cuda", "--artifacts", tmp_path)
    assert (status, error) == (2, "error: --device cuda: there is no CUDA device\n")
    assert command("fit", "--device", "auto", "--epochs", 1, "--artifacts", tmp_path)[0] == 0


def test_a_file_name_that_cannot_name_a_model_asks_for_one(command: Command, tmp_path: Path) -> None:
    """A stem is lower-cased; one that still does not fit needs --model."""
    path = tmp_path / "My Readings.csv"
    path.write_text(TABLE)
    flags = ["--data", path, "--epochs", 1, "--artifacts", tmp_path / "artifacts"]
    status, _, error = command("fit", *flags)
    assert status == 2
    assert "'my readings' cannot name a model" in error
    assert "give a name with --model" in error
    assert command("fit", *flags, "--model", "mine")[0] == 0


@pytest.mark.parametrize("name", [b"read\xffings.csv", b"read\nings.csv"])
def test_a_file_name_that_no_manifest_can_hold_is_refused(name: bytes, command: Command, tmp_path: Path) -> None:
    """The error comes before the training, and is one line."""
    path = tmp_path / os.fsdecode(name)
    path.write_text(TABLE)
    status, _, error = command("fit", "--data", path, "--model", "mine", "--artifacts", tmp_path / "artifacts")
    assert status == 2
    assert error.endswith(": has a file name that cannot be printed; rename the file\n")
    assert error.count("\n") == 1


def test_a_column_constant_in_the_rows_drawn_is_refused(command: Command, tmp_path: Path, table: Write) -> None:
    """A column whose only other value went to validation has nothing to teach."""
    path = table("a,b\n" + "1,2\n" * 2 + "2,3\n")
    flags = ["--data", path, "--validation-fraction", 0.34, "--epochs", 1, "--artifacts", tmp_path / "artifacts"]
    results = [command("fit", *flags, "--seed", seed) for seed in range(8)]
    assert {status for status, _, _ in results} == {0, 2}
    refused = next(error for status, _, error in results if status == 2)
    assert "readings.csv, column 'a': is constant in the rows drawn for training; try a lower" in refused


@pytest.mark.parametrize("name", ["coverage", "guaranteed"])
def test_a_target_cannot_have_the_name_of_what_stands_beside_it(
    name: str, command: Command, tmp_path: Path, table: Write
) -> None:
    """An answer's interval has its level beside the targets; as a feature's, the name is free."""
    data = table(f"x,{name}\n1,2\n2,3\n3,5\n")
    status, _, error = command("fit", "--data", data, "--artifacts", tmp_path / "artifacts")
    assert status == 2
    assert error.startswith(f"error: readings.csv, line 1, column {name!r}: has a name that an answer with an interval")
    status, _, error = command(
        "fit", "--data", data, "--target", "x", "--epochs", 1, "--validation-fraction", 0, "--artifacts", tmp_path / "a"
    )
    assert status == 0, error


def test_a_diverging_run_names_the_epoch_and_publishes_nothing(command: Command, tmp_path: Path) -> None:
    """Status 1, the error is the last line, and there is no artifact."""
    flags = ["--hidden", 0, "--learning-rate", 1e6, "--epochs", 500]
    status, _, error = command("fit", *flags, "--artifacts", tmp_path / "artifacts")
    assert status == 1
    assert error.splitlines()[-1].startswith("error: the training loss is not finite at epoch ")
    assert not (tmp_path / "artifacts").exists()


def test_a_last_step_that_diverges_is_seen_too() -> None:
    """The losses are measured before the last step, so the network is looked at after it."""
    network = nn.Linear(1, 1)
    x = torch.ones(2, 1)
    split = loop.Split(x, 1e10 * x, x, x)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e35)
    with pytest.raises(DivergedError, match="the network is not finite after epoch 1"):
        loop.train(network, optimizer, loop.mean_squared_error(torch.ones(1)), split, epochs=1)


def test_the_epoch_named_is_the_first_that_was_not_finite(command: Command, tmp_path: Path) -> None:
    """A run that ends one epoch before the one named does not diverge in its losses."""
    flags = ["fit", "--hidden", 0, "--learning-rate", 1e6, "--artifacts", tmp_path]
    named = int(command(*flags, "--epochs", 500)[2].rpartition("epoch ")[2].partition(":")[0])
    assert 2 < named < 100
    assert f"not finite at epoch {named}:" in command(*flags, "--epochs", named)[2]
    assert "not finite at epoch" not in command(*flags, "--epochs", named - 1)[2]


@pytest.mark.parametrize("place", ["artifacts", "artifacts/thermometer"])
def test_a_file_where_a_directory_must_be_stops_before_training(place: str, command: Command, tmp_path: Path) -> None:
    """The artifacts directory and the model's are looked at first."""
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("")
    status, out, error = command("fit", "--artifacts", tmp_path / "artifacts")
    assert (status, out) == (2, "")
    assert error == f"error: {tmp_path / place}: is not a directory\n"


def test_an_unwritable_directory_stops_before_training(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest directory that exists must be writable."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    status, out, error = command("fit", "--artifacts", tmp_path / "a" / "b")
    assert (status, out, error) == (2, "", f"error: {tmp_path}: is not writable\n")


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """A write that fails half-way is one line, status 2, and the directory is as it was before."""
    done = subprocess.run(
        [sys.executable, "-m", "training", "fit", "--epochs", "2", "--artifacts", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        # The limit holds for every file, so for what coverage would write too.
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path}/thermometer/.publishing-1/network.pt: File too")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_is_quiet_and_status_130(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C at any moment ends the command without a traceback."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.dataset.draw", interrupted)
    assert command("fit", "--artifacts", tmp_path) == (130, "", "")


def test_ctrl_c_stops_a_running_process(process: Process, tmp_path: Path) -> None:
    """A process that is training returns 130, and has published nothing."""
    running = process("-m", "training", "fit", "--epochs", 10_000_000, "--artifacts", tmp_path)
    assert running.stdout
    assert running.stdout.readline().startswith("epoch 1:")
    running.send_signal(signal.SIGINT)
    _, error = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str], command: Command) -> None:
    """--help prints and ends with status 0."""
    for name in ("fit", "compare", "label"):
        with pytest.raises(SystemExit) as ended:
            command(name, "--help")
        assert ended.value.code == 0
        assert f"python -m training {name}" in capsys.readouterr().out
