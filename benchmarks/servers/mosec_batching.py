"""The same network under mosec: its Rust front collects a batch, a Python process runs it.

As fast as mosec goes for many small requests: 1 ms is the shortest wait that it takes, and orjson and NumPy read and
write the columns. It runs in an environment of its own, so it imports nothing of this project.
"""

import os
from typing import Any, TypeAlias

import numpy as np
import orjson
import torch
from mosec import Server, Worker  # type: ignore[import-not-found]

Column: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]


class Thermometer(Worker):  # type: ignore[misc]
    """Columns in, columns out, one call of the network a batch of requests."""

    def __init__(self) -> None:
        """Load the network in the worker's own process."""
        super().__init__()
        torch.set_num_threads(1)
        network = torch.jit.load(os.environ["NETWORK"]).eval()  # type: ignore[no-untyped-call]
        self.network = torch.jit.freeze(network)

    def deserialize(self, data: bytes) -> Column:
        """Read one request's column."""
        return np.array(orjson.loads(data)["fahrenheit"], dtype=np.float32)

    def serialize(self, data: Column) -> bytes:
        """Write one request's column."""
        return orjson.dumps({"predictions": {"celsius": data}}, option=orjson.OPT_SERIALIZE_NUMPY)

    def forward(self, data: list[Column]) -> list[Column]:
        """Run all requests of the batch together."""
        rows = torch.from_numpy(np.concatenate(data)).unsqueeze(1)
        with torch.inference_mode():
            celsius = self.network(rows).squeeze(1).numpy()
        return np.split(celsius, np.cumsum([len(column) for column in data])[:-1])


if __name__ == "__main__":
    server = Server()
    workers = int(os.environ["WORKERS"])
    server.append_worker(Thermometer, num=workers, max_batch_size=32, max_wait_time=1, route="/predict")
    server.run()
