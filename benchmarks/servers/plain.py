"""What one would write in an afternoon: FastAPI, a pydantic body, an async route, one call of the network a request."""

import os

import torch
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
network = torch.jit.load(os.environ["NETWORK"]).eval()  # type: ignore[no-untyped-call]


class Readings(BaseModel):
    """One column of numbers."""

    fahrenheit: list[float]


class Predictions(BaseModel):
    """One column of numbers, under its name."""

    predictions: dict[str, list[float]]


@app.get("/livez")
async def livez() -> dict[str, str]:
    """Say that the process lives."""
    return {"status": "ok"}


@app.post("/predict")
async def predict(readings: Readings) -> Predictions:
    """Answer each reading with its prediction."""
    with torch.inference_mode():
        celsius = network(torch.tensor(readings.fahrenheit).unsqueeze(1)).squeeze(1)
    return Predictions(predictions={"celsius": celsius.tolist()})
