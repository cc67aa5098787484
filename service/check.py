"""``python -m service check``: loads every version as the service would, and says which would not go live."""

import torch

from service.catalog import Version
from service.predictor import resolve_device
from service.settings import Settings
from service.signing import resolve_public_key
from service.store import Store


def run(settings: Settings) -> int:
    """Print a table; 1 when a version fails, when the folder cannot be read, or when there is nothing in it."""
    torch.set_num_threads(1)
    store = Store(settings, resolve_device(settings.device), resolve_public_key(settings.public_key))
    store.refresh()
    versions = [version for model in store.catalog.models.values() for version in model.versions.values()]
    store.close()
    if store.catalog.error or not versions:
        print(store.catalog.error or f"no model in {settings.artifacts}")
        return 1
    width = max(len(version.model) for version in versions)
    for version in versions:
        print(f"{version.model:{width}}  {version.number:>7}  {version.state:6}  {_note(version)}".rstrip())
    return int(any(version.served is None for version in versions))


def _note(version: Version) -> str:
    if version.served is None:
        return version.reason or ""
    manifest = version.served.predictor.manifest
    features = ", ".join(column.name for column in manifest.features)
    return f"{features} -> {', '.join(column.name for column in manifest.targets)}"
