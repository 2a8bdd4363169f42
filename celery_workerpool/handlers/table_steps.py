"""The operations on tables: each takes a frame and gives a frame."""

from __future__ import annotations

import ast
import difflib
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ..errors import TaskDataError
from . import expressions
from .payload import Payload, one_of

if TYPE_CHECKING:
    import polars as pl


def _condition(text: str) -> str:
    expressions.parse(text)
    return text


def _summary(text: str) -> str:
    expressions.parse(text, groups=True)
    return text


Condition = Annotated[str, AfterValidator(_condition)]
Summary = Annotated[str, AfterValidator(_summary)]
Columns = Annotated[list[str], Field(min_length=1)]


class Step(Payload):
    """One operation on a table."""

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The frame after this operation; columns that are not there are refused."""
        raise NotImplementedError


class FilterStep(Step):
    """Keep the rows for which a condition holds."""

    operation: Literal["filter"] = "filter"
    where: Condition
    """Condition, such as `value > 10 and name in ["a", "b"]`."""

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.filter(_translate(self.where, frame))


class MapStep(Step):
    """Compute columns, or choose some."""

    operation: Literal["map"] = "map"
    set: dict[str, Condition] = Field({})
    """Columns to add or replace, each as an expression: `{"total": "price * quantity"}`."""
    select: Columns | None = None
    """Columns to keep, in this order; None keeps all."""

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.set and self.select is None:
            raise ValueError("set, select or both for a map")
        return self

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        made = frame.with_columns(**{n: _translate(e, frame) for n, e in self.set.items()})
        if self.select is None:
            return made
        _know(self.select, made)
        return made.select(self.select)


class SortStep(Step):
    """Order the rows; equal rows keep their order."""

    operation: Literal["sort"] = "sort"
    by: Columns
    """Columns to order by, the most important first."""
    descending: bool = False
    """Whether the largest comes first."""

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        _know(self.by, frame)
        descending = self.descending
        return frame.sort(self.by, descending=descending, nulls_last=True, maintain_order=True)


class GroupStep(Step):
    """One row per group of rows that agree in some columns, ordered by these columns."""

    operation: Literal["group"] = "group"
    by: Columns
    """Columns whose values make a group."""
    aggregations: dict[str, Summary] = Field({"count": "count()"})
    """Columns of the result, each as an expression: `{"total": "sum(price * quantity)"}`."""

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        _know(self.by, frame)
        made = {n: _translate(e, frame, groups=True) for n, e in self.aggregations.items()}
        return frame.group_by(self.by).agg(**made).sort(self.by, nulls_last=True)


class AggregateStep(Step):
    """One row for the whole table."""

    operation: Literal["aggregate"] = "aggregate"
    aggregations: dict[str, Summary] = Field(min_length=1)
    """Columns of the result, each as an expression: `{"mean": "mean(value)"}`."""

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        made = {n: _translate(e, frame, groups=True) for n, e in self.aggregations.items()}
        return frame.select(**made)


STEPS = (FilterStep, MapStep, SortStep, GroupStep, AggregateStep)
if TYPE_CHECKING:
    AnyStep = Step
else:
    AnyStep = one_of("operation", *STEPS)


def _translate(text: str, frame: pl.LazyFrame, *, groups: bool = False) -> pl.Expr:
    tree: ast.expr = expressions.parse(text, groups=groups)
    _know(expressions.columns(tree), frame)
    return expressions.translate(tree)


def _know(wanted: list[str], frame: pl.LazyFrame) -> None:
    there = frame.collect_schema().names()
    for name in wanted:
        if name not in there:
            close = difflib.get_close_matches(name, there, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            known = ", ".join(map(repr, there[:20]))
            raise TaskDataError(f"there is no column {name!r} among {known}{hint}")
