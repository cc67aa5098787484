"""A run for TensorBoard: its losses by epoch and its configuration, as event files.

TensorBoard is an extra, so it is imported only here, and only when logs are asked for.
"""

from importlib import util
from pathlib import Path

from service import artifact
from training.errors import InvalidInputError, from_os
from training.record import Run, as_flag, spread_rows

_LOGGED_EPOCHS = 10_000


def require() -> None:
    """Raise InvalidInputError when TensorBoard is not installed."""
    if util.find_spec("tensorboard") is None:
        raise InvalidInputError(artifact.needed("--tensorboard", "tensorboard"))


def write(directory: Path, run: Run) -> None:
    """Log a finished run into a directory of its own; raises InvalidInputError for what the system refuses."""
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra

    curves = {"training": run.curves.training, "validation": run.curves.validation}
    losses = {f"loss/{name}": curve.cpu() for name, curve in curves.items() if curve is not None}
    recipe = {name: value if isinstance(value, float) else as_flag(value) for name, value in run.recipe.items()}
    data = run.dataset.readings
    configuration = {**recipe, "seed": run.seed, "data": data.file, "sha256": data.sha256}
    try:
        with SummaryWriter(str(directory)) as writer:
            for name, curve in losses.items():
                for epoch in spread_rows(len(curve), _LOGGED_EPOCHS).tolist():
                    writer.add_scalar(name, float(curve[epoch]), epoch + 1)
            last = {f"last_{name}": float(curve[-1]) for name, curve in losses.items()}
            writer.add_hparams(configuration, last, run_name=".")
    except OSError as error:
        raise from_os(error.filename or directory, error) from error
