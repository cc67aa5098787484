"""An inference's response, from outputs to bytes: JSON, and behind it the tensors that are wanted as bytes."""

from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from service.intervals import Level
from service.outputs import Outputs, write_json
from service.v2.request import Inference
from service.v2.signature import BOUNDS, OUT_OF_RANGE, PREDICTIONS, Signature

# What lies side by side in a batch's outputs, so many columns of each as there are targets.
_PARTS = (PREDICTIONS, *BOUNDS)


@dataclass(frozen=True, slots=True)
class Written:
    """A response's body; `header_length` is how many of its bytes are JSON, None where all are."""

    body: bytes
    header_length: int | None


def write(  # noqa: PLR0913, PLR0917 - what was asked, of whom, and what came of it
    inference: Inference, signature: Signature, model: str, version: str, level: Level | None, outputs: Outputs
) -> Written:
    """The outputs that are wanted, in the order in which they are."""
    tensors: list[dict[str, object]] = []
    behind: list[memoryview] = []
    for wanted in inference.wanted:
        datatype, values = _tensor(wanted.name, signature, outputs)
        tensor: dict[str, object] = {"name": wanted.name, "datatype": datatype, "shape": values.shape}
        if wanted.binary:
            tensors.append(tensor | {"parameters": {"binary_data_size": values.nbytes}})
            behind.append(values.data)
        else:
            tensors.append(tensor | {"data": orjson.Fragment(write_json(values.ravel()))})
    whose: dict[str, object] = {"model_name": model, "model_version": version}
    if inference.id is not None:
        whose["id"] = inference.id
    if level is not None:
        whose["parameters"] = {"coverage": level.coverage, "guaranteed": level.guaranteed}
    header = orjson.dumps(whose | {"outputs": tensors}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Written(b"".join([header, *behind]), len(header)) if behind else Written(header, None)


def _tensor(name: str, signature: Signature, outputs: Outputs) -> tuple[str, NDArray[np.generic]]:
    """An output's datatype and values, which are row-major and little-endian."""
    count = len(signature.targets)
    if name == PREDICTIONS or (name in BOUNDS and signature.has_intervals):
        first = _PARTS.index(name) * count
        return "FP32", np.ascontiguousarray(outputs.predictions[:, first : first + count])
    if name == OUT_OF_RANGE:
        return "BOOL", np.ascontiguousarray(outputs.out_of_range)
    return "FP32", np.ascontiguousarray(outputs.predictions[:, signature.targets.index(name)])
