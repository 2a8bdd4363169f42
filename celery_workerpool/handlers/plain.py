"""Results as plain data that survives JSON: no NaN, no dates, no numpy."""

from __future__ import annotations

import datetime
import decimal
import math
from typing import Any


def plain(value: Any) -> Any:
    """``value`` in numbers, strings, bytes, lists and dicts.

    NaN and infinities become None (JSON has none of them), dates and times ISO 8601 texts,
    durations seconds, decimals strings.
    """
    match value:
        case bool() | int() | str() | bytes() | None:
            return value
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {str(name): plain(item) for name, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return value.total_seconds()
        case decimal.Decimal():
            return str(value)
    return plain(value.item()) if hasattr(value, "item") else str(value)
