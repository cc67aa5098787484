"""``python -m service check``: loads every version as the service would, and says which would not go live."""

import torch

from service.catalog import Model, Version
from service.predictor import resolve_device
from service.settings import Settings
from service.signing import resolve_public_key
from service.store import Store


def run(settings: Settings) -> int:
    """Print a table and what is wrong with the folder; 1 for a version that fails, any warning, or an empty folder."""
    torch.set_num_threads(1)
    store = Store(settings, resolve_device(settings.device), resolve_public_key(settings.public_key))
    store.refresh()
    catalog = store.catalog
    versions = [version for model in catalog.models.values() for version in model.versions.values()]
    warnings = [*catalog.notes, *(f"{m.name}: {text}" for m in catalog.models.values() for text in m.warnings())]
    store.close()
    for warning in warnings:
        print(f"warning: {warning}")
    if catalog.error or not versions:
        print(catalog.error or f"no model in {settings.artifacts}")
        return 1
    width = max(len(version.model) for version in versions)
    for version in versions:
        note = _note(version, catalog.models[version.model])
        print(f"{version.model:{width}}  {version.number:>7}  {version.state:6}  {note}".rstrip())
    return int(bool(warnings) or any(version.served is None for version in versions))


def _note(version: Version, model: Model) -> str:
    if version.served is None:
        return version.reason or ""
    manifest = version.served.predictor.manifest
    features = ", ".join(column.name for column in manifest.features)
    columns = f"{features} -> {', '.join(column.name for column in manifest.targets)}"
    return f"{columns}; {why}" if (why := model.why_not_default(version)) else columns
