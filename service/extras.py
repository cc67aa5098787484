"""How to install what is optional. The distribution is on no package index: an extra comes from a checkout."""


def needed(what: str, extra: str) -> str:
    """Return a sentence that says what needs which extra, and the command that adds the extra to a checkout."""
    command = f".venv/bin/pip install --constraint constraints.txt --editable '.[{extra}]'"
    return f"{what} needs the extra `{extra}`: in the checkout, run {command}"
