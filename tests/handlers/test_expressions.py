"""The expressions of DATA_PROCESSING: what they compute, and that they can do nothing else."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_workerpool.handlers.expressions import columns, parse, translate

ROW = {"a": 7, "b": 2.5, "s": "Hello ", "n": None, "flag": True}


def value(text: str) -> object:
    frame = pl.DataFrame([ROW], schema_overrides={"n": pl.Int64})
    return frame.select(x=translate(parse(text)))["x"].item()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + 1", 8),
        ("a - b * 2", 2.0),
        ("a / 2", 3.5),
        ("a // 2", 3),
        ("a % 4", 3),
        ("-a", -7),
        ("+a", 7),
        ("(a + 1) * 2", 16),
        ("a > 5 and b < 3", True),
        ("a > 5 and not flag", False),
        ("a < 5 or flag", True),
        ("5 < a <= 7", True),
        ("5 < a < 7", False),
        ("a == 7", True),
        ("a != 7", False),
        ("a in [1, 7]", True),
        ("a not in (1, 7)", False),
        ("a in [-1, -7]", False),
        ("n == None", True),
        ("n != None", False),
        ("is_null(n)", True),
        ("coalesce(n, a)", 7),
        ("1 if a > 5 else 2", 1),
        ("abs(-b)", 2.5),
        ("round(b / 3, 2)", 0.83),
        ("floor(b)", 2.0),
        ("ceil(b)", 3.0),
        ("sqrt(a + 2)", 3.0),
        ("lower(s)", "hello "),
        ("upper(strip(s))", "HELLO"),
        ("length(s)", 6),
        ("contains(s, 'ell')", True),
        ("contains(s, '.')", False),  # a text, no pattern
        ("starts_with(s, 'He')", True),
        ("ends_with(s, 'x')", False),
        ("s + 'x'", "Hello x"),
        ("col('a') * 2", 14),
    ],
)
def test_values(text: str, expected: object) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sum(a)", 6),
        ("mean(a * 2)", 4),
        ("count()", 3),
        ("max(a) - min(a)", 2),
        ("median(a)", 2),
        ("std(a)", 1),
        ("first(a)", 1),
        ("last(a)", 3),
        ("n_unique(a)", 3),
        ("quantile(a, 0.5)", 2),
    ],
)
def test_values_of_groups(text: str, expected: float) -> None:
    frame = pl.DataFrame({"a": [1, 2, 3]})
    assert frame.select(x=translate(parse(text, groups=True)))["x"].item() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("__import__('os').system('true')", "not a call()"),
        ("open('/etc/passwd')", "not open()"),
        ("a.__class__", "without a dot"),
        ("a[0]", "without […]"),
        ("lambda: 1", "without Lambda"),
        ("[x for x in a]", "without ListComp"),
        ("(a := 1)", "without NamedExpr"),
        ("f'{a}'", "without JoinedStr"),
        ("a ** 9", "without '**'"),
        ("a @ b", "without MatMult"),
        ("a | b", "without BitOr"),
        ("~a", "without Invert"),
        ("a is None", "without 'is'"),
        ("[1, 2]", "without List"),
        ("abs(*a)", "without Starred"),
        ("{}", "without Dict"),
        ("...", "not Ellipsis"),
        ("b'x'", "not b'x'"),
        ("1j", "not 1j"),
        ("a in b", "a list of constants after 'in'"),
        ("a in [b]", "a list of constants after 'in'"),
        ("a in [f()]", "a list of constants after 'in'"),
        ("sum(a)", "not sum()"),
        ("abs()", "abs() with 1 arguments"),
        ("abs(a, b)", "abs() with 1 arguments"),
        ("abs(x=a)", "abs() with 1 arguments"),
        ("round(a, b)", "round() with a constant as argument 2"),
        ("col(a)", "col() with a constant as argument 1"),
        ("99999999999999999999", "64 bits"),
        ("a in [99999999999999999999]", "64 bits"),
        ("a >", "an expression such as 'value > 10'"),
        ("", "an expression such as 'value > 10'"),
        ("a; b", "an expression such as 'value > 10'"),
        ("a\n\nb", "an expression such as 'value > 10'"),
        ("'\\d'", "without backslashes"),
        ("a" * 1001, "at most 1000 characters"),
        ("-" * 500 + "a", "less deeply nested"),
        ("(" * 300 + "a" + ")" * 300, ""),
        ("+".join("a" * 400), "less deeply nested"),
    ],
)
def test_everything_else_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60))
@settings(max_examples=50, deadline=None)
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        tree = parse(text, groups=True)
    except ValueError:
        return
    translate(tree)


def test_columns() -> None:
    assert columns(parse("price * quantity > 3 and col('unit price') < abs(price)")) == [
        "price",
        "quantity",
        "unit price",
    ]
