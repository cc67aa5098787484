"""The same network under LitServe: one HTTP process and one batching process for each worker.

As fast as LitServe goes here: a batch waits 1 ms at most (with 0 its worker spins, and starves its HTTP process), and
the answer is written by orjson. It runs in an environment of its own, so it imports nothing of this project.
"""

import os
from typing import Any, TypeAlias

import litserve  # type: ignore[import-not-found]
import numpy as np
import orjson
import torch
from fastapi import Response

Column: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]


class Thermometer(litserve.LitAPI):  # type: ignore[misc]
    """Columns in, columns out, one call of the network a batch of requests."""

    def setup(self, device: str) -> None:
        """Load the network in the worker's own process."""
        torch.set_num_threads(1)
        network = torch.jit.load(os.environ["NETWORK"], map_location=device).eval()  # type: ignore[no-untyped-call]
        self.network = torch.jit.freeze(network)

    def decode_request(self, request: dict[str, list[float]]) -> Column:
        """Read one request's column."""
        return np.array(request["fahrenheit"], dtype=np.float32)

    def batch(self, inputs: list[Column]) -> tuple[Column, list[int]]:
        """Lay the columns of all requests end to end."""
        return np.concatenate(inputs), [len(column) for column in inputs]

    def predict(self, x: tuple[Column, list[int]]) -> tuple[Column, list[int]]:
        """Run all requests of the batch together."""
        rows, lengths = x
        with torch.inference_mode():
            return self.network(torch.from_numpy(rows).unsqueeze(1)).squeeze(1).numpy(), lengths

    def unbatch(self, output: tuple[Column, list[int]]) -> list[Column]:
        """Give each request its part."""
        celsius, lengths = output
        return np.split(celsius, np.cumsum(lengths)[:-1])

    def encode_response(self, output: Column) -> Response:
        """Write one request's column."""
        content = orjson.dumps({"predictions": {"celsius": output}}, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(content, media_type="application/json")


if __name__ == "__main__":
    server = litserve.LitServer(
        Thermometer(max_batch_size=32, batch_timeout=0.001),
        accelerator="cpu",
        workers_per_device=int(os.environ["WORKERS"]),
        fast_queue=True,
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
