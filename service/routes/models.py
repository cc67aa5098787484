"""What is published: models, their versions, states, manifests and training records."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from service import media
from service.artifact import Manifest
from service.catalog import Model, State, Version
from service.resolve import Resolver
from service.routes.chosen import ModelName, VersionReference, served_at
from service.served import Served
from service.store import Store

_REPORT: dict[int | str, dict[str, Any]] = {200: {"content": {media.JSON: {"schema": {"type": "object"}}}}}


class VersionSummary(BaseModel):
    """A version's state, since when it is in it, and why where that is not plain."""

    version: str
    state: State
    since: datetime
    reason: str | None


class VersionDetail(VersionSummary):
    """The same, with the labels that stand for it, and its manifest where it is ready."""

    model: str
    labels: list[str]
    manifest: Manifest | None


class ModelSummary(BaseModel):
    """A model; `default_version` is what answers where no version is named, `labels` are as the folder has them.

    `warnings` say what is wrong with the folder or its labels; a damaged label is shown as it was before.
    """

    name: str
    default_version: str | None
    labels: dict[str, str]
    versions: list[VersionSummary]
    warnings: list[str]


class ModelList(BaseModel):
    """Every model; `error` says why the folder cannot be read, `warnings` what is wrong with it apart from models."""

    models: list[ModelSummary]
    error: str | None
    warnings: list[str]


def router(store: Store, resolver: Resolver) -> APIRouter:
    """GET /models, /models/{model} and /models/{model}/versions/{version}."""
    routes = APIRouter(tags=["models"])

    @routes.get("/models", summary="Every model and version, with its state")
    async def list_models() -> ModelList:
        catalog = store.catalog
        models = [_model_summary(model) for model in catalog.models.values()]
        return ModelList(models=models, error=catalog.error, warnings=list(catalog.notes))

    @routes.get("/models/{model}", summary="One model: its labels and versions")
    async def show_model(model: ModelName) -> ModelSummary:
        return _model_summary(resolver.model(model))

    @routes.get("/models/{model}/versions/{version}", summary="One version: its state, labels and manifest")
    async def show_version(model: ModelName, version: VersionReference) -> VersionDetail:
        return _version_detail(resolver.version(model, version), resolver.model(model))

    return routes


def report_router(prefix: str, resolver: Resolver) -> APIRouter:
    """GET the training record of the version that the prefix names."""
    routes = APIRouter(prefix=prefix, tags=["models"])

    @routes.get("/report", summary="The training record", response_class=Response, responses=_REPORT)
    async def report(served: Annotated[Served, Depends(served_at(prefix, resolver))]) -> Response:
        """Loss curves, readings, residuals, data digest, seed and environment, byte for byte as training wrote them."""
        return Response(served.predictor.report, media_type=media.JSON)

    return routes


def _model_summary(model: Model) -> ModelSummary:
    return ModelSummary(
        name=model.name,
        default_version=str(model.default.number) if model.default else None,
        labels={label: str(number) for label, number in model.labels.items()},
        versions=[_version_summary(version, model) for version in model.versions.values()],
        warnings=list(model.warnings()),
    )


def _version_summary(version: Version, model: Model) -> VersionSummary:
    reason = "; ".join(text for text in (version.reason, model.why_not_default(version)) if text)
    return VersionSummary(version=str(version.number), state=version.state, since=version.since, reason=reason or None)


def _version_detail(version: Version, model: Model) -> VersionDetail:
    return VersionDetail(
        **_version_summary(version, model).model_dump(),
        model=version.model,
        labels=[label for label, number in model.serving.items() if number == version.number],
        manifest=version.served.predictor.manifest if version.served else None,
    )
