"""The bounds of a version that has intervals, by the level that is wanted (Barber et al. 2021: jackknife+, CV+)."""

from torch import Tensor, nn

from service import artifact

# In percent, so that ranks are exact.
LEVELS = (80, 90)


def ranks(manifest: artifact.Manifest) -> dict[int, int]:
    """The rank of each level that the version can give; none of a version without intervals."""
    if manifest.interval is None:
        return {}
    found = {level: (100 - level) * (manifest.interval.readings + 1) // 100 for level in LEVELS}
    return {level: rank for level, rank in found.items() if rank >= 1}


def bounds(network: nn.Module, x: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds ``[B, targets]`` for raw `x`, at a rank."""
    answered: Tensor = network.interval(x, rank)  # type: ignore[operator]
    _, lower, upper = answered.chunk(3, dim=1)
    return lower, upper
