"""The documentation: its links lead somewhere, and no setting is missing."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from celery_workerpool.manager.events import KINDS
from celery_workerpool.manager.questions import Metrics
from celery_workerpool.manager.settings import ManagerSettings
from celery_workerpool.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
ROW = re.compile(r"^\| `(workerpool_\w+)` \| `([^`]+)` \| (.+) \|$", re.MULTILINE)


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]+`", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, made as Git hosts make them."""
    titles = HEADING.findall(page.read_text())
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_pages_are_there() -> None:
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert names >= {
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "docs/design.md",
        "docs/facade.md",
        "docs/operating.md",
        "docs/settings.md",
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(without_code(page.read_text())):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        file = (page.parent / target) if target else page
        assert file.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {link}"


def test_every_setting_of_the_pool_is_documented_with_its_default() -> None:
    rows = {name: default for name, default, _ in ROW.findall(text_of("docs/settings.md"))}
    expected = {PREFIX + f.name: repr(f.default) for f in dataclasses.fields(Settings)}
    assert rows == expected


def test_every_setting_of_the_facade_is_documented_with_its_default() -> None:
    rows = re.findall(
        r"^\| (`[^|]+) \| (`[^|]+`) \| .+ \|$", text_of("docs/facade.md"), re.MULTILINE
    )
    documented = {
        name: default
        for names, defaults in rows
        for name, default in zip(
            re.findall(r"`(\w+)`", names), re.findall(r"`([^`]+)`", defaults), strict=True
        )
    }
    fields = dataclasses.fields(ManagerSettings)
    expected = {field.name: repr(field.default) for field in fields}
    assert {name: documented.get(name) for name in expected} == expected


def test_every_event_and_figure_of_the_facade_is_documented() -> None:
    page = text_of("docs/facade.md")
    shortened = {"task_completed", "task_failed", "task_timeout"}  # "task_assigned, …"
    for name in KINDS.keys() - shortened:
        assert f"`{name}`" in page, name
    for field in dataclasses.fields(Metrics):
        camel = re.sub(r"_(\w)", lambda found: found[1].upper(), field.name)
        assert f"`{field.name}`" in page or f"`{camel}`" in page, field.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_setting_is_named_that_does_not_exist(page: Path) -> None:
    names = {PREFIX + field.name for field in dataclasses.fields(Settings)}
    assert set(re.findall(r"\bworkerpool_[a-z]\w*", page.read_text())) <= names


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_contents_of_the_operating_manual_name_every_section() -> None:
    text = text_of("docs/operating.md")
    assert re.findall(r"\[([^]]+)\]\(#", text.splitlines()[2]) == re.findall(
        r"^## (.+)$", text, re.MULTILINE
    )


def test_every_extra_is_documented() -> None:
    extras = tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"]
    rows = [line.split("|")[1] for line in text_of("README.md").splitlines() if line[:3] == "| `"]
    assert set(extras) <= set(re.findall(r"`(\w+)`", "".join(rows)))
