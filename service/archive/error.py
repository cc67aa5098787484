"""The one error of `service.archive`."""


class ArchiveError(Exception):
    """What is not allowed in a network's archive, or not as it should be there; the message says what, and where."""
