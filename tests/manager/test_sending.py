"""From the arguments of ``submit_task`` to a message, or to one clear line."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from celery_workerpool import InvalidTaskError, SettingsError, TaskPriority, WorkerTaskType
from celery_workerpool.manager import ManagerSettings, connections
from celery_workerpool.manager.options import TaskOptions
from celery_workerpool.manager.sending import GRACE, Sender

RIGHT = ("CUSTOM", {"function": "m.f", "args": [1]})
CONF = {
    "broker_url": "memory://",
    "include": ["celery_workerpool.tasks"],
    "workerpool_custom_modules": ["m"],
}


@pytest.fixture
def app() -> Iterator[Celery]:
    made = Celery("sending", set_as_current=False)
    made.conf.update(CONF, task_default_queue=f"q{uuid.uuid4().hex}")
    yield made
    connections.close(made)


@pytest.fixture
def sender(app: Celery) -> Sender:
    return Sender(app, ManagerSettings(), local=False)


def messages(app: Celery, queue: str | None = None) -> list[Any]:
    queue = queue or app.conf.task_default_queue
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        found = []
        try:
            while (message := channel.basic_get(queue, no_ack=True)) is not None:
                found.append(message)
        except connection.channel_errors:
            pass  # There is no such queue.
        return found


LATER = datetime.now(UTC) + timedelta(hours=1)

WRONG: list[tuple[dict[str, Any], str]] = [
    *(
        ({"metadata": {"x": value}}, "data that JSON can hold, of at most 65536 bytes")
        for value in (object(), b"x", {1, 2}, datetime.now(UTC), math.nan, "x" * 66000)
    ),
    ({"priority": "URGENT"}, "a TaskPriority: CRITICAL, HIGH, NORMAL, LOW"),
    ({"priority": 1}, "a TaskPriority: CRITICAL, HIGH, NORMAL, LOW"),
    ({"priority": None}, "a TaskPriority: CRITICAL, HIGH, NORMAL, LOW"),
    *(
        ({option: value}, "seconds, as a number above 0")
        for option in ("timeout", "expires")
        for value in (0, -1, "5", True, math.nan, math.inf, 10**400, timedelta(1))
    ),
    *(
        ({"countdown": value}, "seconds, as a number of at least 0")
        for value in (-1, "5", True, math.nan, math.inf, 10**400)
    ),
    *(({"eta": value}, "a datetime") for value in (5, "2030-01-01", True)),
    ({"eta": datetime(2030, 1, 1)}, "a datetime with a time zone"),
    ({"expires": datetime(2030, 1, 1)}, "a datetime with a time zone"),
    ({"expires": datetime(2000, 1, 1, tzinfo=UTC)}, "a time to come"),
    ({"eta": LATER, "countdown": 1}, "none, as there is a countdown"),
    *(
        ({"max_retries": value}, "a whole number of at least 0")
        for value in (-1, 1.5, "3", True, math.inf)
    ),
    *(({"metadata": value}, "an object with text for keys") for value in ([], "x", {1: 2}, None)),
    *(({"tags": value}, "a list of text") for value in ("x", 5, [1], None)),
    *(
        ({option: value}, "text that is not empty")
        for option in ("task_id", "queue")
        for value in (5, "", b"x")
    ),
]


@pytest.mark.parametrize(("options", "expected"), WRONG)
def test_every_wrong_option(sender: Sender, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidTaskError) as wrong:
        sender.prepare(*RIGHT, TaskOptions.of(options))
    option = next(iter(options))
    assert (wrong.value.option, wrong.value.expected) == (option, expected)
    assert wrong.value.value is options[option]


def test_an_option_that_does_not_exist() -> None:
    with pytest.raises(InvalidTaskError) as wrong:
        TaskOptions.of({"priorty": "HIGH"})
    assert wrong.value.option == "priorty"
    assert wrong.value.expected == "an option that exists; did you mean priority?"
    with pytest.raises(InvalidTaskError) as wrong:
        TaskOptions.of({"zzz": 1})
    assert wrong.value.expected.startswith(
        "an option that exists (one of priority, timeout, max_retries, "
    )


@pytest.mark.parametrize(
    ("kind", "payload", "option"),
    [
        ("NOTHING", {}, "type"),
        (None, {}, "type"),
        ("CUSTOM", None, "payload"),
        ("CUSTOM", {"function": "os.system"}, "payload.function"),
        ("CUSTOM", {"functoin": "m.f"}, "payload.functoin"),
    ],
)
def test_wrong_types_and_payloads(
    sender: Sender, kind: object, payload: object, option: str
) -> None:
    with pytest.raises(InvalidTaskError) as wrong:
        sender.prepare(kind, payload, TaskOptions())
    assert wrong.value.option == option


def test_what_cannot_be_serialised(sender: Sender, app: Celery) -> None:
    prepared = sender.prepare("CUSTOM", {"function": "m.f", "args": [object()]}, TaskOptions())
    for refuse in (sender.check_encoding, sender.send):
        with pytest.raises(InvalidTaskError, match="expected data that can be serialised"):
            refuse(prepared)
    assert messages(app) == []


def test_what_is_sent(sender: Sender, app: Celery) -> None:
    prepared = sender.prepare(
        WorkerTaskType.CUSTOM,
        RIGHT[1],
        TaskOptions(
            priority="high",
            timeout=5,
            max_retries=1,
            metadata={"user": "u-1"},
            task_id="my-id",
            tags=iter(["a", "b"]),
        ),
    )
    sender.send(prepared)
    (message,) = messages(app)
    headers = message.headers
    assert (headers["id"], headers["task"]) == ("my-id", "celery_workerpool.run")
    assert headers["task_priority"] == "HIGH"
    assert headers["timelimit"] == [5.0 + GRACE, 5.0]
    assert headers["ignore_result"] is False
    order = headers["workerpool"]
    assert (order["max_retries"], order["retry_delay"], order["tags"]) == (1, 1.0, ["a", "b"])
    assert order["metadata"] == {"user": "u-1"} and order["submitted_at"] > 0
    args, kwargs, _ = message.payload
    assert (args, kwargs) == (["CUSTOM", RIGHT[1]], {})
    record = prepared.record()
    assert (record.id, record.type, record.priority) == ("my-id", "CUSTOM", TaskPriority.HIGH)
    assert (record.tags, record.submitted_at) == (("a", "b"), order["submitted_at"])


def test_the_defaults_come_from_the_settings(app: Celery) -> None:
    settings = ManagerSettings(task_timeout=7, max_retries=0, retry_delay=2, retry_max_delay=3)
    prepared = Sender(app, settings, local=False).prepare(*RIGHT, TaskOptions())
    assert prepared.timeout == 7
    order = prepared.order
    assert (order.max_retries, order.retry_delay, order.retry_max_delay) == (0, 2, 3)
    assert prepared.priority is TaskPriority.NORMAL
    assert len(prepared.task_id) == 36


@pytest.mark.parametrize(
    ("broker", "numbers"), [("redis://", [0, 3, 6, 9]), ("amqp://", [9, 6, 3, 0])]
)
def test_the_brokers_own_numbers(
    app: Celery, monkeypatch: pytest.MonkeyPatch, broker: str, numbers: list[int]
) -> None:
    app.conf.broker_url = broker
    sender = Sender(app, ManagerSettings(), local=False)
    sent: list[int] = []
    monkeypatch.setattr(app, "send_task", lambda *_, priority, **__: sent.append(priority))
    for level in TaskPriority:
        sender.send(sender.prepare(*RIGHT, TaskOptions(priority=level)))
    assert sent == numbers


def test_a_task_that_redis_would_have_run_twice(app: Celery) -> None:
    app.conf.update(broker_url="redis://", broker_transport_options={"visibility_timeout": 60})
    assert Sender(app, ManagerSettings(), local=False).prepare(*RIGHT, TaskOptions(timeout=1e5))
    app.conf.workerpool_redeliver_after = None
    sender = Sender(app, ManagerSettings(), local=False)
    assert sender.prepare(*RIGHT, TaskOptions(timeout=58)).timeout == 58
    with pytest.raises(InvalidTaskError, match=r"timeout = 59\.0: expected less than the visib"):
        sender.prepare(*RIGHT, TaskOptions(timeout=59))
    app.conf.broker_url = "amqp://"
    assert Sender(app, ManagerSettings(), local=False).prepare(*RIGHT, TaskOptions(timeout=1e5))


def test_when_it_expires_is_left_to_the_workers(sender: Sender, app: Celery) -> None:
    """The broker would drop it, and nobody would hear of it."""
    sender.send(sender.prepare(*RIGHT, TaskOptions(expires=60)))
    moment = datetime(2100, 1, 1, tzinfo=UTC)
    sender.send(sender.prepare(*RIGHT, TaskOptions(expires=moment)))
    first, second = messages(app)
    assert datetime.fromisoformat(first.headers["expires"]) > datetime.now(UTC)
    assert datetime.fromisoformat(second.headers["expires"]) == moment
    assert "expiration" not in first.properties


def test_another_queue_and_one_that_does_not_exist(sender: Sender, app: Celery) -> None:
    sender.send(sender.prepare(*RIGHT, TaskOptions(queue=f"{app.conf.task_default_queue}-other")))
    assert len(messages(app, f"{app.conf.task_default_queue}-other")) == 1
    app.conf.task_create_missing_queues = False
    app.amqp.queues.create_missing = False
    with pytest.raises(InvalidTaskError) as wrong:
        sender.send(sender.prepare(*RIGHT, TaskOptions(queue="missing")))
    assert (wrong.value.option, wrong.value.value) == ("queue", "missing")


def test_once_more_and_at_once(sender: Sender) -> None:
    first = sender.prepare(*RIGHT, TaskOptions(countdown=60, expires=90, tags=["a"]))
    again = sender.again(first)
    assert again.task_id != first.task_id
    assert (again.countdown, again.eta, again.expires) == (None, None, 90)
    assert (again.payload, again.order.tags) == (first.payload, ("a",))
    assert (again.order.submitted_at or 0) >= (first.order.submitted_at or 0)


def test_an_app_that_does_not_include_the_tasks(app: Celery) -> None:
    app.conf.include = ["other"]
    with pytest.raises(SettingsError) as wrong:
        Sender(app, ManagerSettings(), local=False)
    assert wrong.value.setting == "include"
    assert "'celery_workerpool.tasks' among them" in wrong.value.expected
    app.conf.imports = ["celery_workerpool.tasks"]
    Sender(app, ManagerSettings(), local=False)
