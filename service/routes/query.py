"""Query parameters: one that is not known, or there twice, is refused: what is quietly ignored makes a wrong answer."""

from collections.abc import Awaitable, Callable

from fastapi import Request

from service.problems import MAX_FAULTS, Fault, WrongValues


def only(*known: str) -> Callable[[Request], Awaitable[None]]:
    """The dependency that raises WrongValues for every query parameter but these, and for these more than once."""

    async def check(request: Request) -> None:
        unknown = [name for name in request.query_params if name not in known]
        if unknown:
            offer = f"it takes {', '.join(known)}" if known else "it takes none"
            faults = [Fault(f"query: {name[:200]}", "is not known here") for name in unknown[:MAX_FAULTS]]
            raise WrongValues(f"a query parameter is not known here; {offer}", faults=faults)
        for name in known:
            if len(request.query_params.getlist(name)) > 1:
                fault = Fault(f"query: {name}", "is there more than once")
                raise WrongValues(f"query: {name} is there more than once", faults=[fault])

    return check
