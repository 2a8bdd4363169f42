"""What somebody may have meant by a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def one_that_exists(
    what: str, name: str, known: Iterable[str], page: str, *, prefix: str = ""
) -> str:
    """What is expected in place of ``name``: ``"a setting that exists; did you mean x?"``.

    Arguments:
        page: where all are listed; named where no name is like this one.
        prefix: what all begin with, and none of the names given here.
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"{what} that exists" + (
        f"; did you mean {prefix}{close[0]}?" if close else f" ({page})"
    )
