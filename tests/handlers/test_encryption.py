"""ENCRYPTION: what was sealed opens with its key only, whole or not at all; keys stay hidden."""

from __future__ import annotations

import base64
import logging
import pickle
import struct
import time
import traceback
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery_workerpool import WorkerTaskType as T
from celery_workerpool.errors import InvalidTaskError, TaskCancelled, TaskDataError
from celery_workerpool.handlers import Files, summarise, validate
from celery_workerpool.handlers.encryption import generate_key
from celery_workerpool.handlers.keys import Key

from .support import do, refusal

KEY = base64.urlsafe_b64encode(bytes(range(200, 232))).decode()
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTS_KEY", KEY)
    monkeypatch.setenv("OTHER_KEY", generate_key())


def crypt(operation: str, **payload: Any) -> Any:
    return do(T.ENCRYPTION, {"operation": operation, "key": {"env": "REPORTS_KEY"}, **payload})


@pytest.mark.parametrize("algorithm", ["aes-gcm", "fernet"])
@given(data=st.binary(max_size=3000))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_round_trip(algorithm: str, data: bytes) -> None:
    sealed = crypt("encrypt", data=data, algorithm=algorithm)
    assert sealed["data"] != data
    assert crypt("decrypt", data=sealed["data"], algorithm=algorithm)["data"] == data


@pytest.mark.parametrize(
    "size", [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 17], ids=lambda n: f"{n} bytes"
)
def test_files_of_every_size_around_a_chunk(tmp_path: Path, size: int) -> None:
    plain, sealed, again = (str(tmp_path / name) for name in ("plain", "sealed", "again"))
    content = bytes(range(251)) * (size // 251 + 1)
    Path(plain).write_bytes(content[:size])
    result = crypt("encrypt", input=plain, output=sealed)
    assert result == {
        "output": sealed,
        "bytes": 47 + size + 16 * max(1, -(-size // MIB)),
        "algorithm": "aes-gcm",
        "input_bytes": size,
    }
    crypt("decrypt", input=sealed, output=again)
    assert Path(again).read_bytes() == content[:size]


def test_the_format_is_the_documented_one() -> None:
    """Read by another program, written from the description in the docs."""
    data = bytes(MIB) + b"the end"
    sealed = crypt("encrypt", data=data, associated_data="for:alice")["data"]
    magic, size, salt, prefix = struct.unpack_from("!4sI32s7s", sealed)
    assert (magic, size) == (b"CWP1", MIB)
    kdf = HKDF(algorithm=SHA256(), length=32, salt=salt, info=sealed[:8])
    aes = AESGCM(kdf.derive(base64.urlsafe_b64decode(KEY)))
    additional = sealed[:47] + b"for:alice"
    first, last = sealed[47 : 47 + MIB + 16], sealed[47 + MIB + 16 :]
    plain = aes.decrypt(prefix + struct.pack("!IB", 0, 0), first, additional)
    plain += aes.decrypt(prefix + struct.pack("!IB", 1, 1), last, additional)
    assert plain == data


def test_fernet_tokens_are_fernet_tokens() -> None:
    token = crypt("encrypt", data=b"x", algorithm="fernet")["data"]
    assert Fernet(KEY.encode()).decrypt(token) == b"x"
    assert (
        crypt("decrypt", data=Fernet(KEY.encode()).encrypt(b"y"), algorithm="fernet")["data"]
        == b"y"
    )


def test_fernet_tokens_grow_old() -> None:
    token = Fernet(KEY.encode()).encrypt_at_time(b"x", int(time.time()) - 100)
    assert crypt("decrypt", data=token, algorithm="fernet", ttl=1000)["data"] == b"x"
    with pytest.raises(TaskDataError, match="too old"):
        crypt("decrypt", data=token, algorithm="fernet", ttl=10)


def _swapped(sealed: bytes) -> bytes:
    chunk = MIB + 16
    first, second = sealed[47 : 47 + chunk], sealed[47 + chunk : 47 + 2 * chunk]
    return sealed[:47] + second + first + sealed[47 + 2 * chunk :]


TAMPERED = {
    "a changed byte of the header": lambda s: s[:20] + bytes([s[20] ^ 1]) + s[21:],
    "a changed nonce": lambda s: s[:45] + bytes([s[45] ^ 1]) + s[46:],
    "a changed byte": lambda s: s[:5000] + bytes([s[5000] ^ 1]) + s[5001:],
    "a changed tag": lambda s: s[:-1] + bytes([s[-1] ^ 1]),
    "cut within a chunk": lambda s: s[:-5],
    "cut between chunks": lambda s: s[: 47 + 2 * (MIB + 16)],
    "cut to its header": lambda s: s[:47],
    "chunks exchanged": _swapped,
    "a chunk left out": lambda s: s[:47] + s[47 + MIB + 16 :],
    "a chunk twice": lambda s: s[: 47 + MIB + 16] + s[47:],
    "something after its end": lambda s: s + b"x",
    "another after it": lambda s: s + s,
    "nothing": lambda s: b"",
    "no header": lambda s: s[47:],
    "another chunk size": lambda s: s[:4] + struct.pack("!I", 2**31) + s[8:],
}


@pytest.mark.parametrize("how", TAMPERED)
def test_what_is_not_as_it_was_written_is_not_decrypted(tmp_path: Path, how: str) -> None:
    sealed = crypt("encrypt", data=bytes(2 * MIB + 100))["data"]
    (tmp_path / "sealed").write_bytes(TAMPERED[how](sealed))
    with pytest.raises(TaskDataError):
        crypt("decrypt", input=str(tmp_path / "sealed"), output=str(tmp_path / "plain"))
    assert [path.name for path in tmp_path.iterdir()] == ["sealed"]


@pytest.mark.parametrize("algorithm", ["aes-gcm", "fernet"])
def test_another_key(algorithm: str) -> None:
    sealed = crypt("encrypt", data=b"x", algorithm=algorithm)["data"]
    with pytest.raises(TaskDataError, match="another key"):
        crypt("decrypt", data=sealed, algorithm=algorithm, key={"env": "OTHER_KEY"})


def test_associated_data_is_needed_again() -> None:
    sealed = crypt("encrypt", data=b"x", associatedData=b"for:alice")["data"]
    assert b"alice" not in sealed
    assert crypt("decrypt", data=sealed, associated_data=b"for:alice")["data"] == b"x"
    with pytest.raises(TaskDataError):
        crypt("decrypt", data=sealed, associated_data=b"for:bob")


def test_the_same_data_never_looks_the_same() -> None:
    first, second = (crypt("encrypt", data=b"x" * 100)["data"] for _ in range(2))
    assert first[8:] != second[8:]
    assert first[47:] != second[47:]


def test_a_key_file(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "keys" / "reports").write_text(KEY + "\n")
    files = Files.within([str(tmp_path / "data")], [str(tmp_path / "keys")])
    payload = {"operation": "encrypt", "data": b"x", "key": {"file": "reports"}}
    sealed = do(T.ENCRYPTION, payload, files=files)["data"]
    assert crypt("decrypt", data=sealed)["data"] == b"x"
    hashing = {"operation": "hash", "input": str(tmp_path / "keys" / "reports")}
    assert "outside" in refusal(T.FILE_IO, hashing, files)


def test_a_cancelled_task_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(bytes(3 * MIB))
    asked = iter([False, True])
    with pytest.raises(TaskCancelled):
        do(
            T.ENCRYPTION,
            {
                "operation": "encrypt",
                "key": {"env": "REPORTS_KEY"},
                "input": str(tmp_path / "plain"),
                "output": str(tmp_path / "sealed"),
            },
            is_cancelled=lambda: next(asked),
        )
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


MISPLACED = [
    {"key": KEY},
    {"key": KEY.encode()},
    {"key": [KEY]},
    {"key": {"env": KEY}},
    {"key": {"file": KEY}},
    {"key": {"value": KEY}},
    {"key": {KEY: 1}},
    {"key": {"env": "REPORTS_KEY", "file": KEY}},
    {"kye": KEY},
    {"key": {"env": "REPORTS_KEY"}, "secretKey": KEY},
    {"key": {"env": "REPORTS_KEY"}, "iv": KEY},
    {"key": {"env": "REPORTS_KEY"}, "data": [KEY]},
    {"key": {"env": "REPORTS_KEY"}, "associated_data": [KEY]},
    {"key": {"env": "REPORTS_KEY"}, "associated_data": KEY, "algorithm": "fernet"},
]


@pytest.mark.parametrize("wrong", MISPLACED, ids=lambda wrong: ",".join(wrong))
def test_a_key_in_the_wrong_place_is_not_repeated(
    tmp_path: Path, wrong: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    payload = {"operation": "encrypt", "data": b"x", **wrong}
    with pytest.raises((InvalidTaskError, TaskDataError)) as caught:
        do(T.ENCRYPTION, payload, files=Files.within([str(tmp_path)]))
    error = caught.value
    assert error.__context__ is None and error.__cause__ is None
    shown = [str(error), repr(error), repr(error.args), repr(vars(error)), caplog.text]
    shown += traceback.format_exception(error)
    if list(wrong) != ["key"] or not isinstance(wrong["key"], dict):
        shown.append(
            summarise({k: v for k, v in payload.items() if k in {"key", "data", "associated_data"}})
        )
    assert not any(KEY in text for text in shown)


@pytest.mark.parametrize("content", ["", "short", "x" * 44, KEY[:-4], KEY + KEY, "é" * 44])
def test_what_is_no_key_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "key").write_text(content)
    monkeypatch.setenv("NO_KEY", content)
    for key in ({"env": "NO_KEY"}, {"file": str(tmp_path / "key")}):
        with pytest.raises(TaskDataError, match=r"is not set|does not hold 32 bytes") as caught:
            crypt("encrypt", data=b"x", key=key)
        text = "".join(traceback.format_exception(caught.value))
        assert not content or content not in text


def test_keys_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TaskDataError, match="is not set in the worker"):
        crypt("encrypt", data=b"x", key={"env": "NO_SUCH_KEY"})
    with pytest.raises(TaskDataError, match="may not be read, or is not there"):
        crypt("encrypt", data=b"x", key={"file": "/nowhere/key"})


def test_neither_repr_nor_pickle_gives_a_key_away(caplog: pytest.LogCaptureFixture) -> None:
    key = Key(b"k" * 32)
    assert "k" * 5 not in f"{key!r} {key} {[key]}"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    payload = {"operation": "encrypt", "data": b"plain text", "key": {"env": "REPORTS_KEY"}}
    model = validate(T.ENCRYPTION, payload)
    assert "plain text" not in repr(model)
    assert KEY not in repr(model)


def test_results_hold_nothing_of_the_key() -> None:
    for algorithm in ("aes-gcm", "fernet"):
        result = crypt("encrypt", data=b"x", algorithm=algorithm)
        assert set(result) == {"data", "bytes", "algorithm", "input_bytes"}
        assert base64.urlsafe_b64decode(KEY) not in result["data"]


def test_refusals() -> None:
    base = {"data": "x", "operation": "encrypt"}
    assert refusal(T.ENCRYPTION, {**base, "key": KEY}) == (
        'payload.key = (hidden): expected {"env": name} or {"file": path}, never the key itself'
    )
    assert refusal(T.ENCRYPTION, {**base, "key": {}}) == (
        "payload.key = (hidden): expected either env or file"
    )
    assert refusal(T.ENCRYPTION, {**base, "operation": "encript", "key": {"env": "K"}}) == (
        "payload.operation = 'encript': expected one of encrypt, decrypt; did you mean encrypt?"
    )
    payload = {"data": "x", "operation": "decrypt", "key": {"env": "K"}, "ttl": 5}
    assert refusal(T.ENCRYPTION, payload) == (
        "payload.ttl = 5: expected nothing with aes-gcm, which does not know it"
    )


def test_fernet_has_a_limit(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(65 * MIB)
    with pytest.raises(TaskDataError, match="fernet takes 67108864: use aes-gcm"):
        crypt("encrypt", input=str(tmp_path / "large"), algorithm="fernet")
