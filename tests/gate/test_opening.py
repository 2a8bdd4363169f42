from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from celery import Celery

from celery_workerpool.errors import SettingsError
from celery_workerpool.gate.memory import MemoryStore
from celery_workerpool.gate.opening import home, open_store
from celery_workerpool.gate.redis import RedisStore
from celery_workerpool.gate.sql import SqlStore
from celery_workerpool.settings import Settings


def opened(backend: str | None, **settings: Any) -> Any:
    app = Celery(set_as_current=False, backend=backend, broker="memory://")
    store = open_store(app, Settings(**settings))
    if store is not None:
        store.close()
    return store


@pytest.mark.parametrize(
    "url",
    ["redis://127.0.0.1:1/0", "redis+socket:///tmp/none.sock", "sentinel://127.0.0.1:1/0"],
)
def test_the_store_is_where_the_results_are(url: str) -> None:
    assert isinstance(opened(url), RedisStore)
    assert isinstance(opened("rpc://", gate_store=url), RedisStore)


@pytest.mark.parametrize("backend", [None, "rpc://", "cache+memory://"])
def test_without_such_a_place_there_is_none(backend: str | None) -> None:
    assert opened(backend) is None


def test_an_sql_database_will_do() -> None:
    assert isinstance(opened("db+sqlite:///nowhere.db"), SqlStore)
    assert isinstance(opened("rpc://", gate_store="db+sqlite:///nowhere.db"), SqlStore)


def test_a_store_in_memory_has_to_be_asked_for() -> None:
    assert isinstance(opened("redis://127.0.0.1:1", gate_store="memory://"), MemoryStore)


@pytest.mark.parametrize("url", ["rpc://", "gopher://x", "db+nosuch://x"])
def test_what_cannot_be_a_store_is_refused(url: str) -> None:
    with pytest.raises(
        SettingsError, match=re.escape(f"workerpool_gate_store = '{url}': expected redis://")
    ):
        opened("redis://127.0.0.1:1", gate_store=url)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("celery.backends.database")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    monkeypatch.setitem(sys.modules, "sqlalchemy.exc", None)
    with pytest.raises(SettingsError, match=re.escape('pip install "celery_workerpool[sql]"')):
        opened("redis://127.0.0.1:1", gate_store="db+sqlite:///nowhere.db")


def test_home_is_the_broker_whoever_asks() -> None:
    def at(*urls: str) -> str:
        return home(Celery(set_as_current=False, broker=list(urls)))

    assert at("amqp://a:b@host/v") == at("amqp://c:d@host/v")
    assert at("amqp://one//", "amqp://two//") == at("amqp://two//", "amqp://one//")
    assert len({at("redis://host/0"), at("redis://host/1"), at("redis://other/0")}) == 3
    rabbit = ("amqp://rabbit:5672//", "amqp://rabbit//", "pyamqp://guest:guest@RABBIT:5672")
    redis = ("redis://localhost:6379/0", "redis://127.0.0.1", "rediss://:x@[::1]:6379/?health=1")
    socket = tuple(f"redis+socket:///run/redis.sock?virtual_host={db}" for db in "12")
    assert [len({at(url) for url in urls}) for urls in (rabbit, redis, socket)] == [1, 1, 2]
    assert at("amqp://one;two") == at("amqp://two", "amqp://one") != at("amqp://one;three")
    assert len({at("memory://"), at("filesystem://"), at("")}) == 3
    assert at("") == at("amqp://")


def test_brokers_with_prefixes_of_their_own_are_homes_of_their_own() -> None:
    app = Celery(set_as_current=False, broker="redis://host/0")
    plain = home(app)
    app.conf.broker_transport_options = {"global_keyprefix": "a:"}
    assert home(app) != plain
