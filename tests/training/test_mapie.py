"""MAPIE, a library that others trust, gives the same bounds from the same left-out networks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from mapie.regression import CrossConformalRegressor
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import LeaveOneOut, PredefinedSplit

from left_out import LeftOutFits, fit
from service.intervals import level
from service.manifest import Bounds, Interval

CURVE = "x,y\n" + "\n".join(f"{x},{np.sin(x / 7) * 20 + x % 3:.3f}" for x in range(53))


class Fitted(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn comes without types
    """Is fitted already: of our networks it becomes the one that did not see the rows that are missing.

    Rows begin with their own number, so that it can tell which are.
    """

    def __init__(self, fits: LeftOutFits) -> None:
        self.fits = fits

    def fit(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> Self:
        """Find out who that is."""
        missing = set(range(len(self.fits.folds))) - set(x[:, 0].astype(int))
        folds = {int(self.fits.folds[row]) for row in missing}
        assert len(folds) <= 1
        self.network_ = self.fits.others[folds.pop()] if folds else self.fits.run.network
        return self

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """What it says."""
        with torch.no_grad():
            found: NDArray[np.float64] = self.network_(torch.tensor(x[:, 1:], dtype=torch.float32)).double().numpy()
        return found[:, 0]

    def __sklearn_clone__(self) -> "Fitted":
        """Not copied: there is nothing to be fitted anew."""
        return Fitted(self.fits)


def numbered(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows with their numbers."""
    return np.column_stack([np.arange(len(features)), features])


@pytest.mark.parametrize("folds", [None, 10])
@pytest.mark.parametrize("coverage", [0.9, 0.8, 0.55])
def test_bounds_are_mapie_s(folds: int | None, coverage: float, table: Callable[[str | bytes], Path]) -> None:
    """Jackknife+ of eleven readings, and CV+ of 53 in ten folds, at several levels, within float32.

    MAPIE's rank is ceil(coverage (n + 1)) in floats, from the other end; ours is exact. They agree but where the
    product is a whole number that floats miss, and there is none such here.
    """
    fits = fit(table(CURVE), folds=folds) if folds else fit()
    data = fits.run.dataset
    split: Any = PredefinedSplit(fits.folds.numpy()) if folds else LeaveOneOut()
    oracle = CrossConformalRegressor(Fitted(fits), confidence_level=coverage, method="plus", cv=split)
    oracle.fit_conformalize(numbered(data.features.double().numpy()), data.targets[:, 0].double().numpy())
    x = np.linspace(-5, 100, 60)[:, None]
    _, found = oracle.predict_interval(numbered(x))
    readings = len(fits.folds)
    made_of = Interval(
        method="cv+" if folds else "jackknife+",
        readings=readings,
        folds=folds or readings,
        golden=Bounds(rank=1, lower=(), upper=()),
    )
    rank = level(str(coverage), made_of).rank
    with torch.no_grad():
        _, lower, upper = fits.run.network.interval(torch.tensor(x, dtype=torch.float32), rank).chunk(3, dim=1)  # type: ignore[operator]
    np.testing.assert_allclose(lower[:, 0], found[:, 0, 0], rtol=1e-5, atol=5e-5)
    np.testing.assert_allclose(upper[:, 0], found[:, 1, 0], rtol=1e-5, atol=5e-5)
