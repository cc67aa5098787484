"""A ready version as requests meet it: what it reads, who runs it, and how its answers are worded."""

import orjson

from service import intervals
from service.engine import Engine
from service.entry import Entry
from service.features import Subject
from service.intervals import Level
from service.predictor import Predictor
from service.tables.json import Columns


class Served:
    """A ready version, and what it answers with; with intervals, it has an engine for them of its own.

    `json_answer` is its answers' JSON, with ``%b`` for each target's array and for that of the rows out of range;
    `json_interval_answer` has ``%b`` for the coverage, the guaranteed one, and each target's lower and upper array too.
    """

    def __init__(
        self, number: int, predictor: Predictor, columns: Columns, engine: Engine, interval_engine: Engine | None
    ) -> None:
        self.model = predictor.manifest.model
        self.number = number
        self.subject = Subject(self.model, number, predictor.manifest.features)
        self.predictor = predictor
        self.columns = columns
        self.engine = engine
        self._interval_engine = interval_engine
        if interval_engine:
            interval_engine.executions = engine.executions  # they are counted together
        names = [orjson.dumps(target.name).replace(b"%", b"%%") for target in predictor.manifest.targets]
        whose = b'{"model":"%b","version":"%d","predictions":{' % (self.model.encode(), number)
        predictions = whose + b",".join([name + b":%b" for name in names])
        bounds = b",".join([name + b':{"lower":%b,"upper":%b}' for name in names])
        self.json_answer = predictions + b'},"out_of_range":%b}'
        self.json_interval_answer = (
            predictions + b'},"interval":{"coverage":%b,"guaranteed":%b,' + bounds + b'},"out_of_range":%b}'
        )

    def level(self, interval: str | None, where: str = intervals.QUERY) -> Level | None:
        """What an interval means here, None where none is asked for; raises WrongValues for one that cannot be."""
        return None if interval is None else intervals.level(interval, self.predictor.manifest.interval, where)

    def submit(self, entry: Entry, level: Level | None) -> bool:
        """Queue an entry for what it asks, as `Engine.submit` does; its rows are the features alone."""
        if level is None or self._interval_engine is None:
            return self.engine.submit(entry)
        entry.rows = intervals.ranked(entry.rows, level.rank)
        return self._interval_engine.submit(entry)

    def is_busy(self, level: Level | None) -> bool:
        """Return whether the queue is more than half full, so that it pays to count rows before they are read."""
        engine = self._engine_of(level)
        return 2 * engine.queued_rows > engine.max_queue_rows

    def check_room(self, level: Level | None, rows: int) -> None:
        """Raise EngineError where the queue does not have room for `rows` rows."""
        self._engine_of(level).check_room(rows)

    def _engine_of(self, level: Level | None) -> Engine:
        return self.engine if level is None or self._interval_engine is None else self._interval_engine

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Each has a queue of its own."""
        return (self.engine, self._interval_engine) if self._interval_engine else (self.engine,)

    def json(self, document: dict[str, object]) -> bytes:
        """A document, arrays in it as they are, behind the model and the version that it is of."""
        whose = {"model": self.model, "version": str(self.number)}
        return orjson.dumps(whose | document, option=orjson.OPT_SERIALIZE_NUMPY)
