"""DATA_PROCESSING over records and over real files of 100,000 rows."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_workerpool import WorkerTaskType as T
from celery_workerpool.errors import TaskCancelled, TaskDataError
from celery_workerpool.handlers import Files

from .support import do

ROWS = 100_000
SHOPS = ["north", "south", "west"]
SALES = [
    {"shop": "north", "price": 2.0, "quantity": 3},
    {"shop": "south", "price": 1.5, "quantity": 10},
    {"shop": "north", "price": 4.0, "quantity": 1},
]


def process(**payload: Any) -> Any:
    return do(T.DATA_PROCESSING, payload)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same 100,000 rows in every format, written by another library where there is one."""
    folder = tmp_path_factory.mktemp("tables")
    columns = {
        "id": list(range(ROWS)),
        "shop": [SHOPS[i % 3] for i in range(ROWS)],
        "price": [i % 100 / 4 for i in range(ROWS)],
    }
    table = pyarrow.table(columns)
    pyarrow.csv.write_csv(table, folder / "rows.csv")
    pyarrow.parquet.write_table(table, folder / "rows.parquet")
    records = table.to_pylist()
    (folder / "rows.json").write_text(json.dumps(records))
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, records)))
    return folder


@pytest.mark.parametrize("ending", ["csv", "parquet", "json", "jsonl"])
def test_a_file_is_filtered_grouped_and_sorted(tables: Path, ending: str) -> None:
    result = process(
        input=str(tables / f"rows.{ending}"),
        operation="pipeline",
        steps=[
            {"operation": "filter", "where": "price >= 10 and shop in ['north', 'south']"},
            {
                "operation": "group",
                "by": ["shop"],
                "aggregations": {"count": "count()", "total": "sum(price)"},
            },
            {"operation": "sort", "by": ["total"], "descending": True},
        ],
    )
    expected = {shop: [0, 0.0] for shop in ("north", "south")}
    for i in range(ROWS):
        shop, price = SHOPS[i % 3], i % 100 / 4
        if price >= 10 and shop in expected:
            expected[shop][0] += 1
            expected[shop][1] += price
    assert {row["shop"]: [row["count"], row["total"]] for row in result["data"]} == expected
    assert result["data"] == sorted(result["data"], key=lambda row: -row["total"])
    assert result["count"] == 2
    assert result["columns"] == ["shop", "count", "total"]


def test_rows_of_a_file_are_limited_unless_told_otherwise(tables: Path) -> None:
    path = str(tables / "rows.parquet")
    result = process(input=path)
    assert (len(result["data"]), result["count"], result["truncated"]) == (10_000, ROWS, True)
    assert len(process(input=path, limit=ROWS)["data"]) == ROWS
    assert process(input=path, limit=0)["data"] == []


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "json", "jsonl"])
def test_rows_are_written_and_read_again(tables: Path, tmp_path: Path, ending: str) -> None:
    output = str(tmp_path / f"out.{ending}")
    result = process(
        input=str(tables / "rows.csv"), output=output, operation="filter", where="id % 2 == 0"
    )
    assert result["data"] == []
    assert result["count"] == ROWS // 2
    assert result["bytes"] == Path(output).stat().st_size
    assert result["output"] == output
    again = process(input=output, operation="aggregate", aggregations={"n": "sum(id)"})
    assert again["data"] == [{"n": sum(range(0, ROWS, 2))}]


def test_a_file_may_be_replaced_by_what_is_made_of_it(tables: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes((tables / "rows.csv").read_bytes())
    process(input=str(path), output=str(path), operation="filter", where="id < 10")
    assert process(input=str(path))["count"] == 10


def test_filter() -> None:
    result = process(data=SALES, operation="filter", where="price * quantity > 5")
    assert result["data"] == SALES[:2]


def test_map() -> None:
    result = process(
        data=SALES, operation="map", set={"total": "price * quantity"}, select=["shop", "total"]
    )
    assert result["data"] == [
        {"shop": "north", "total": 6.0},
        {"shop": "south", "total": 15.0},
        {"shop": "north", "total": 4.0},
    ]


def test_sort_keeps_the_order_of_equal_rows() -> None:
    result = process(data=SALES, operation="sort", by=["shop"])
    assert result["data"] == [SALES[0], SALES[2], SALES[1]]


def test_group() -> None:
    result = process(data=SALES, operation="group", by=["shop"])
    assert result["data"] == [{"shop": "north", "count": 2}, {"shop": "south", "count": 1}]


def test_plain_numbers_stay_plain_numbers() -> None:
    assert process(data=[3, 1, 2], operation="sort", by=["value"])["data"] == [1, 2, 3]
    doubled = process(data=[1, 2], operation="map", set={"value": "value * 2"})
    assert doubled["data"] == [2, 4]
    total = process(data=[1, 2], operation="aggregate", aggregations={"sum": "sum(value)"})
    assert total["data"] == [{"sum": 3}]


def test_results_are_plain_data(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"day": ["2026-01-31"], "x": [float("nan")], "list": [[1, 2]], "struct": [{"a": None}]}
    ).with_columns(pl.col("day").str.to_date(), at=pl.lit("2026-01-31 10:00").str.to_datetime())
    frame.write_parquet(tmp_path / "odd.parquet")
    assert process(input=str(tmp_path / "odd.parquet"))["data"] == [
        {
            "day": "2026-01-31",
            "x": None,
            "list": [1, 2],
            "struct": {"a": None},
            "at": "2026-01-31T10:00:00",
        }
    ]


@given(
    st.lists(
        st.fixed_dictionaries(
            {"id": st.integers(-(2**53), 2**53), "name": st.text(max_size=5)},
            optional={"x": st.none() | st.floats(allow_nan=False, allow_infinity=False)},
        ),
        max_size=20,
    )
)
@settings(deadline=None, max_examples=25)
def test_nothing_is_lost_of_records(rows: list[dict[str, Any]]) -> None:
    assert process(data=rows)["data"] == rows
    kept = process(data=rows, operation="filter", where="id == id") if rows else {"data": []}
    names = {name for row in rows for name in row}
    assert kept["data"] == [
        {name: row.get(name) for name in row | dict.fromkeys(names)} for row in rows
    ]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (
            {"data": [1], "operation": "filter", "where": "valu > 1"},
            "there is no column 'valu' among 'value'; did you mean 'value'?",
        ),
        ({"data": [1], "operation": "sort", "by": ["x"]}, "there is no column 'x' among 'value'"),
        ({"data": [1], "operation": "filter", "where": "value + 'x' > 2"}, "arithmetic on dtypes"),
        ({"data": [1], "operation": "filter", "where": "value"}, "must be of type `Boolean`"),
        ({"data": [1], "operation": "map", "set": {"x": "lower(value)"}}, "value"),
        ({"input": "/nowhere/x.csv"}, "'/nowhere/x.csv' does not exist"),
    ],
)
def test_what_the_data_do_not_allow(payload: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskDataError) as caught:
        process(**payload)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "parquet"])
def test_files_that_are_no_tables(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"junk.{ending}"
    for content in (b"", b"\x00\xff\xfe{", b"[1, 2", b'"a\n1,2,3\n4,5\n6'):
        path.write_bytes(content)
        with contextlib.suppress(TaskDataError):
            assert process(input=str(path))["count"] >= 0


def test_names_are_names_and_no_patterns_or_addresses(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "[ab]*.csv").write_text("x\n2\n")
    files = Files.within([str(tmp_path)])
    result = do(T.DATA_PROCESSING, {"input": "[ab]*.csv"}, files=files)
    assert result["data"] == [{"x": 2}]
    for path in ("*.csv", "http://localhost/a.csv", "s3://bucket/a.csv", "file:///etc/passwd"):
        with pytest.raises(TaskDataError, match="does not exist"):
            do(T.DATA_PROCESSING, {"input": path, "format": "csv"}, files=files)


def test_a_cancelled_task_leaves_nothing(tables: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    answers = iter([False, True])
    with pytest.raises(TaskCancelled):
        do(
            T.DATA_PROCESSING,
            {"input": str(tables / "rows.csv"), "output": str(output)},
            is_cancelled=lambda: next(answers),
        )
    assert list(tmp_path.iterdir()) == []
