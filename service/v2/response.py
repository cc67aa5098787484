"""An inference's response, from outputs to bytes: JSON, and behind it the tensors that are wanted as bytes."""

from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from service.outputs import Outputs
from service.v2.request import Inference
from service.v2.signature import OUT_OF_RANGE, PREDICTIONS, Signature


@dataclass(frozen=True, slots=True)
class Written:
    """A response's body; `header_length` is how many of its bytes are JSON, None where all are."""

    body: bytes
    header_length: int | None


def write(inference: Inference, signature: Signature, model: str, version: str, outputs: Outputs) -> Written:
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
            tensors.append(tensor | {"data": values.ravel()})
    whose: dict[str, object] = {"model_name": model, "model_version": version}
    if inference.id is not None:
        whose["id"] = inference.id
    header = orjson.dumps(whose | {"outputs": tensors}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Written(b"".join([header, *behind]), len(header)) if behind else Written(header, None)


def _tensor(name: str, signature: Signature, outputs: Outputs) -> tuple[str, NDArray[np.generic]]:
    """An output's datatype and values, which are row-major and little-endian."""
    if name == PREDICTIONS:
        return "FP32", np.ascontiguousarray(outputs.predictions)
    if name == OUT_OF_RANGE:
        return "BOOL", np.ascontiguousarray(outputs.out_of_range)
    return "FP32", np.ascontiguousarray(outputs.predictions[:, signature.targets.index(name)])
