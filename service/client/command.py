"""``python -m service predict``: a CSV file in, the same rows with the columns of their predictions out."""

import os
import sys

from service.client.blocking import Client
from service.client.csv_rows import BadFile, CsvRows
from service.client.errors import BadTable, ClientError

KEY_VARIABLE = "CALIBRANT_API_KEY"

_REFUSED, _BAD_USAGE = 1, 2


def run(  # noqa: PLR0913 - one for each flag
    file: str, *, url: str, model: str | None, version: str | None, interval: float | None, timeout: float
) -> int:
    """Write the answered rows to stdout; 1 when the service refuses or is not there, 2 for a file that is no good."""
    try:
        rows = CsvRows.read(file)
        with Client(url, os.environ.get(KEY_VARIABLE) or None, timeout) as client:
            answering = client.version(model, version)
            table = rows.columns(answering.features)
            answered = client.predict(table, interval, answering.model, answering.number)
    except (BadFile, BadTable, ValueError) as error:
        return _failed(error, _BAD_USAGE)
    except ClientError as error:
        return _failed(error, _REFUSED)
    rows.write(answered)
    return 0


def _failed(error: Exception, status: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return status
