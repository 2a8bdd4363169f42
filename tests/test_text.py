"""How figures look in a terminal."""

from __future__ import annotations

import pytest

from celery_workerpool.cli.text import age, span, table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.9, "59.9 s"),
        (60, "1:00"),
        (3599, "59:59"),
        (7507, "2:05:07"),
        (3 * 86400 + 7507, "3 d 2:05:07"),
    ],
)
def test_age(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.00042, "0.4 ms"), (0.085, "85 ms"), (0.9999, "1.0 s"), (75, "1:15")],
)
def test_span(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


def test_a_table_is_as_wide_as_its_cells() -> None:
    rows = [("a", "1,000", "x"), ("long name", "2", "")]
    assert list(table(("NAME", "N", ""), rows, numbers=[1])) == [
        "  NAME           N",
        "  a          1,000  x",
        "  long name      2",
    ]
