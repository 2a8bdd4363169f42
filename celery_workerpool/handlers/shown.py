"""Values of payloads as they may appear in messages, logs and events: short, one line."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

LONGEST = 80
#: Fields that hold what is to be worked on: of no use to a reader, large, and not for all eyes.
CONTENT = frozenset({"data", "image", "args", "kwargs", "associated_data", "associatedData"})
_SECRET = ("key", "password", "secret", "token")

_short = reprlib.Repr()
_short.maxlist = _short.maxtuple = _short.maxset = _short.maxdict = 4
_short.maxstring = _short.maxother = LONGEST


class Shown(str):
    """A text that stands for a value in a message; its repr is itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str.__str__(self)


NOTHING = Shown("nothing")
HIDDEN = Shown("(hidden)")


def shown(value: object) -> Shown:
    """``value`` in at most a few words; the bytes of it never."""
    if isinstance(value, bytes | bytearray):
        return Shown(f"<{len(value)} bytes>")
    try:
        return Shown(_cut(_short.repr(value)))
    except ValueError:  # an integer of more digits than Python writes down
        return Shown(f"<{type(value).__name__}>")


def short(value: object) -> object:
    """A value that an error may carry: itself where that is plain and short, else a text for it.

    What is plain takes the way from a worker to its client unchanged.
    """
    plain = value is None or isinstance(value, bool | float)
    plain = plain or (type(value) is int and abs(value) < 2**63)
    plain = plain or (type(value) is str and len(value) < LONGEST - 2)
    return value if plain else shown(value)


def is_secret(name: object) -> bool:
    """Whether a field of this name may hold what nobody should see."""
    return isinstance(name, str) and name.lower().startswith(_SECRET)


def summarise(payload: object) -> str:
    """A payload for the eyes of an operator, as ``argsrepr`` and logs should have it.

    Paths and options are shown; what is to be worked on (``data`` and the like) is counted,
    and keys are hidden.
    """
    if not isinstance(payload, Mapping):
        return _counted(payload)
    parts = []
    for name, value in payload.items():
        if is_secret(name):
            value = HIDDEN
        elif name in CONTENT and not (name == "image" and isinstance(value, str)):
            value = Shown(_counted(value))
        parts.append(f"{shown(name)}: {value if isinstance(value, Shown) else shown(value)}")
    return _cut("{" + ", ".join(parts) + "}", 4 * LONGEST)


def _counted(value: Any) -> str:
    match value:
        case bytes() | bytearray():
            return f"<{len(value)} bytes>"
        case str():
            return f"<{len(value)} characters>"
        case list() | tuple() | dict():
            return f"<{len(value)} items>"
        case _:
            return f"<{type(value).__name__}>"


def _cut(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
