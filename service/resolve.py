"""From what a path names to the version that answers it, or the problem that says why none does."""

from service.artifact import DEFAULT_LABEL
from service.board import Place
from service.catalog import Model, Version
from service.problems import NotFound, Problem, Unavailable
from service.served import Served
from service.store import Store

RETRY_SECONDS = 2


class Resolver:
    """Finds versions in what the store holds now."""

    def __init__(self, store: Store, default_model: str | None, place: Place | None = None) -> None:
        """`default_model` is the setting; without it the folder's own default is. `place` is that of one of several."""
        self.stopping = False
        self._store = store
        self._default_model = default_model
        self._place = place

    def model(self, name: str | None) -> Model:
        """The model by that name, or the default model; raises NotFound, or Unavailable where there is none at all."""
        catalog = self._store.catalog
        name = name or self._default_model or catalog.default
        if name is None and catalog.models and catalog.default_lost:
            raise Unavailable(f"the default model is not known: {catalog.notes[-1]}", retry_after=RETRY_SECONDS)
        if name is None and catalog.models:
            names = ", ".join(catalog.models)
            raise NotFound(f"there are several models ({names}): name one in the path, or set default_model")
        model = catalog.models.get(name or "")
        if model is not None:
            return model
        if catalog.models and name != self._default_model:
            raise NotFound(f"there is no model of that name; there are: {', '.join(catalog.models)}")
        raise Unavailable(self._why_none(name), retry_after=RETRY_SECONDS)

    def version(self, name: str | None = None, reference: str | None = None) -> Version:
        """A version of a model by number or label, or the model's default; raises NotFound or Unavailable."""
        model = self.model(name)
        if reference is None:
            if model.default is None:
                raise Unavailable(_why_no_default(model), retry_after=RETRY_SECONDS)
            return model.default
        version = model.find(reference)
        if version is None and reference in model.lost:
            raise Unavailable(f"{model.name}: {model.damage(reference)}", retry_after=RETRY_SECONDS)
        if version is None:
            raise NotFound(
                f"{model.name} has no such version or label; its versions are {', '.join(map(str, model.versions))}"
            )
        return version

    def served(self, name: str | None = None, reference: str | None = None) -> Served:
        """The same, for a version that is ready; raises Unavailable with the reason where it is not."""
        version = self.version(name, reference)
        if version.served is None:
            why = version.reason or "it is being loaded"
            raise Unavailable(
                f"{version.model} version {version.number} is not ready: {why}", retry_after=RETRY_SECONDS
            )
        return version.served

    def check_ready(self) -> None:
        """Raise Unavailable until the default model serves here and in every other worker.

        Where several models could be meant, each of them has to. Also raised while the process is `stopping`, so that
        no balancer sends it more.
        """
        self._check_own()
        if self._place and not self._place.board.all_ready():
            raise Unavailable("another one of the workers is not ready", retry_after=RETRY_SECONDS)

    def _check_own(self) -> None:
        if self.stopping:
            raise Unavailable("the service is stopping", retry_after=RETRY_SECONDS)
        catalog = self._store.catalog
        if self._default_model or catalog.default or catalog.default_lost or not catalog.models:
            self.served()
        else:
            for name in catalog.models:
                self.served(name)

    def is_ready(self) -> bool:
        """Whether the default model serves here, and the process is not stopping."""
        try:
            self._check_own()
        except Problem:
            return False
        return True

    def _why_none(self, name: str | None) -> str:
        catalog = self._store.catalog
        if not catalog.complete:
            return "the artifacts folder is being read"
        if catalog.error:
            return catalog.error
        missing = f"the default model, {name}, is not there" if catalog.models else "there is no model yet"
        return f"{missing}: train one with `python -m training fit`, or `make train`"


def _why_no_default(model: Model) -> str:
    if DEFAULT_LABEL in model.lost:
        return f"{model.name} has no default version: {model.damage(DEFAULT_LABEL)}"
    reasons = [f"version {version.number}: {version.reason or version.state}" for version in model.versions.values()]
    label = f"; {DEFAULT_LABEL} is version {model.labels[DEFAULT_LABEL]}" if DEFAULT_LABEL in model.labels else ""
    return f"no version of {model.name} is ready ({'; '.join(reasons) or 'it has none'}{label})"
