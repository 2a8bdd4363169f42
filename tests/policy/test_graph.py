from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_workerpool.errors import InvalidTaskError
from celery_workerpool.policy.graph import (
    LONGEST_ID,
    Dependencies,
    OnFailure,
    describe_cycle,
    find_cycle,
    plain,
    storable,
)

NAMES = st.sampled_from("abcdefgh")
IDS_ONLY = "expected ids of at most 255 characters, and no null in them"
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
IDS = st.text(CHARACTERS, min_size=1, max_size=255)
GRAPHS = st.dictionaries(NAMES, st.lists(NAMES, unique=True))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Dependencies()),
        ({"dependencies": None}, Dependencies()),
        ({"dependencies": []}, Dependencies()),
        ({"dependencies": ["a", "b", "a"]}, Dependencies(("a", "b"))),
        (
            {"dependencies": ("a",), "on_dependency_failure": "run", "dependency_timeout": 5},
            Dependencies(("a",), OnFailure.RUN, 5.0),
        ),
    ],
    ids=str,
)
def test_headers_say_what_a_task_waits_for(headers: dict[str, Any], expected: Dependencies) -> None:
    assert Dependencies.of_headers("t", headers) == expected


@pytest.mark.parametrize(
    ("header", "value", "message"),
    [
        ("dependencies", "a", "expected a list of task ids"),
        ("dependencies", {"a": 1}, "expected a list of task ids"),
        ("dependencies", 5, "expected a list of task ids"),
        ("dependencies", [""], "expected task ids, which are texts; not ''"),
        ("dependencies", ["a", 5], "expected task ids, which are texts; not 5"),
        ("dependencies", ["a", "t"], "expected other tasks: no task can wait for itself"),
        (
            "dependencies",
            ["a" * 256],
            IDS_ONLY,
        ),
        ("dependencies", ["\0"], IDS_ONLY),
        ("dependencies", ["\ud800"], IDS_ONLY),
        ("on_dependency_failure", "explode", "expected one of fail, run, cancel"),
        ("on_dependency_failure", ["fail"], "expected one of fail, run, cancel"),
        ("dependency_timeout", 0, "expected seconds, as a number above 0"),
        ("dependency_timeout", True, "expected seconds, as a number above 0"),
        ("dependency_timeout", "1 day", "expected seconds, as a number above 0"),
        ("dependency_timeout", float("inf"), "expected seconds, as a number above 0"),
        ("dependency_timeout", 10**400, "expected seconds, as a number above 0"),
    ],
    ids=str,
)
def test_malformed_headers_are_refused(header: str, value: object, message: str) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        Dependencies.of_headers("t", {"dependencies": ["a"], header: value})
    assert str(caught.value) == f"{header} = {value!r}: {message}"


@pytest.mark.parametrize("task_id", ["x" * 256, "a\0b", "\ud800"], ids=repr)
def test_a_task_whose_own_id_no_store_can_keep_cannot_wait(task_id: str) -> None:
    assert Dependencies.of_headers(task_id, {"dependencies": []}).ids == ()
    with pytest.raises(InvalidTaskError, match="an id of at most 255 characters, and no null"):
        Dependencies.of_headers(task_id, {"dependencies": ["a"]})


@given(st.lists(IDS, min_size=1), st.sampled_from(OnFailure), st.floats(0.1, 1e6))
def test_headers_survive_the_way(ids: list[str], policy: OnFailure, timeout: float) -> None:
    dependencies = Dependencies.checked("", ids, policy, timeout)
    assert Dependencies.of_headers("", dependencies.to_headers()) == dependencies


@given(GRAPHS)
def test_a_cycle_is_found_exactly_when_there_is_one(graph: dict[str, list[str]]) -> None:
    cycle = find_cycle(graph)
    if cycle:
        assert cycle[0] == cycle[-1] and len(set(cycle)) == len(cycle) - 1
        assert all(b in graph[a] for a, b in pairwise(cycle))
    else:
        assert _sortable(graph)


def _sortable(graph: dict[str, list[str]]) -> bool:
    """Whether all can be taken away, those first that wait for nothing that is left."""
    left = dict(graph)
    while free := [name for name in left if not set(left[name]) & set(left)]:
        for name in free:
            del left[name]
    return not left


def test_a_long_chain_is_no_trouble() -> None:
    chain = {str(i): [str(i + 1)] for i in range(20_000)}
    assert find_cycle(chain) == ()
    assert len(find_cycle({**chain, "20000": ["0"]})) == 20_002


def test_a_cycle_reads_well() -> None:
    assert describe_cycle(("a", "b", "a")) == "a waits for b, which waits for a"
    assert describe_cycle(("a", "a")) == "a waits for a"


@given(st.text(st.characters(), max_size=LONGEST_ID + 2))
def test_an_id_is_storable_if_all_of_it_can_be_kept(task_id: str) -> None:
    assert storable(task_id) == (len(task_id) <= LONGEST_ID and plain(task_id) == task_id)


@pytest.mark.parametrize("task_id", ["\0", "a\0", "\ud800", "ä\0", "x" * (LONGEST_ID + 1)])
def test_an_id_that_no_store_keeps(task_id: str) -> None:
    assert not storable(task_id)
