"""Which store an app's waiting tasks are kept in."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

from celery.app import backends
from celery.exceptions import ImproperlyConfigured
from kombu.utils.url import url_to_parts

from ..errors import SettingsError
from ..settings import PREFIX, Settings
from .memory import MemoryStore
from .redis import RedisStore
from .store import Store, Terms

#: How many leases a task that was published may wait for a worker until it is published again.
REPEAT = 20
#: Of brokers' URLs that name none.
PORTS = {
    "amqp": 5672,
    "pyamqp": 5672,
    "amqps": 5671,
    "redis": 6379,
    "rediss": 6379,
    "sentinel": 26379,
}
LOCALHOST = ("127.0.0.1", "::1", None)
EXPECTED = "redis://…, rediss://…, sentinel://…, redis+socket://…, db+DATABASE://… or memory://"


def open_store(app: Any, settings: Settings) -> Store | None:
    """The store that ``workerpool_gate_store`` names, else one where the results are.

    Opens no connection yet. None: nothing is set, and results are kept where no store can be.

    Raises:
        SettingsError: ``workerpool_gate_store`` is set and cannot be used.
    """
    url = settings.gate_store
    terms = Terms(
        home=home(app),
        keep=_keep(app, settings),
        lease=settings.gate_lease,
        repeat=settings.gate_lease * REPEAT,
    )
    if url is not None and url.startswith("memory://"):
        return MemoryStore(terms)
    try:
        store = _store(app, url or app.backend_cls or app.conf.result_backend, terms)
    except (ImproperlyConfigured, ImportError, *_sql_errors()) as exc:
        if url is None:
            return None
        why = str(exc)
        if url.startswith("db+") and find_spec("sqlalchemy") is None:
            why = f'{why}; pip install "celery_workerpool[sql]"'
        raise SettingsError(f"{PREFIX}gate_store", url, f"{EXPECTED} ({why})") from exc
    if store is None and url is not None:
        raise SettingsError(f"{PREFIX}gate_store", url, EXPECTED)
    return store


def _store(app: Any, where: Any, terms: Terms) -> Store | None:
    cls, url = backends.by_url(where, app.loader)
    names = {base.__name__ for base in cls.__mro__}
    if "RedisBackend" in names:  # Not imported here: it may not be installed.
        options = app.conf.result_backend_transport_options or {}
        prefix = str(options.get("global_keyprefix", ""))
        return RedisStore(cls(app=app, url=url).client, terms, prefix)
    if "DatabaseBackend" in names:
        from .database import make_engine  # SQLAlchemy need not be there.
        from .sql import SqlStore

        url = url or app.conf.database_url
        if url is None:
            return None
        return SqlStore(make_engine(url, app.conf.database_engine_options or {}), terms)
    return None


def _sql_errors() -> tuple[type[Exception], ...]:
    try:
        from sqlalchemy.exc import ArgumentError
    except ImportError:
        return ()
    return (ArgumentError,)


def home(app: Any) -> str:
    """Names an app's broker: hosts, virtual host and prefix, whatever the password."""
    urls = app.conf.broker_write_url or app.conf.broker_url or ""
    urls = ";".join([urls] if isinstance(urls, str) else urls).split(";")
    options = app.conf.broker_transport_options or {}
    parts = [*sorted(map(_place, urls)), str(options.get("global_keyprefix") or "")]
    return hashlib.sha256(";".join(parts).encode()).hexdigest()[:12]


def _place(url: str) -> str:
    """The same for all spellings of a URL that leave defaults out."""
    parts: Any = url_to_parts(url if "://" in url else f"amqp://{url}")
    host = "localhost" if parts.hostname in LOCALHOST else parts.hostname
    port = parts.port or PORTS.get(parts.scheme) or parts.scheme
    default = "0" if PORTS.get(parts.scheme) in (6379, 26379) else "/"
    virtual = parts.query.get("virtual_host", "")
    return f"{host}:{port}/{parts.path or default}{virtual}"


def _keep(app: Any, settings: Settings) -> float:
    if settings.gate_keep is not None:
        return settings.gate_keep
    expires = app.conf.result_expires
    if isinstance(expires, timedelta):
        expires = expires.total_seconds()
    return float(expires) if expires else 86400.0
