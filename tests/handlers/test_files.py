"""Nothing outside of the roots is read or written, and no half of an output is ever seen."""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from celery_workerpool import SettingsError
from celery_workerpool.errors import PathRefused, TaskDataError
from celery_workerpool.handlers import Files, files

from .support import ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "inside.txt").write_text("inside")
    (tmp_path / "outside.txt").write_text("outside")
    (tmp_path / "root-too").mkdir()
    (tmp_path / "root-too" / "file").write_text("a name that begins alike")
    return tmp_path / "root"


def test_what_is_inside_is_read_by_absolute_and_relative_path(root: Path) -> None:
    access = Files.within([str(root)])
    for path in (str(root / "inside.txt"), "inside.txt", "./x/../inside.txt"):
        with access.open(path) as file:
            assert file.read() == b"inside"


@pytest.mark.parametrize(
    "path",
    [
        "../outside.txt",
        "/etc/passwd",
        "link-to-file",
        "link-to-folder/outside.txt",
        "link-to-link",
        "../root-too/file",
        "x/../../outside.txt",
        "/proc/self/root/etc/passwd",
        "/proc/self/cwd/pyproject.toml",
        "//etc/passwd",
    ],
)
def test_ways_out_are_closed(root: Path, path: str) -> None:
    (root / "link-to-file").symlink_to(root.parent / "outside.txt")
    (root / "link-to-folder").symlink_to(root.parent)
    (root / "link-to-link").symlink_to(root / "link-to-file")
    access = Files.within([str(root)])
    before = sorted(root.parent.rglob("*"))
    with pytest.raises(PathRefused, match="is outside of what the settings allow"):
        access.open(path)
    with pytest.raises(PathRefused, match="is outside"), access.output(path):
        raise AssertionError("opened for writing")
    assert (root.parent / "outside.txt").read_text() == "outside"
    assert sorted(root.parent.rglob("*")) == before


@pytest.mark.parametrize("path", ["", "a\0b", "\udcff\ud800"])
def test_what_is_no_path(root: Path, path: str) -> None:
    with pytest.raises(TaskDataError):
        Files.within([str(root)]).open(path)


def test_a_link_that_is_exchanged_after_it_was_looked_at_gains_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = Files.within([str(root)])
    (root / "folder").mkdir()
    (root / "folder" / "outside.txt").write_text("inside")
    located = Files.locate

    def locate_then_exchange(self: Files, path: str, *, key: bool = False) -> str:
        real = located(self, path, key=key)
        if not (root / "folder").is_symlink():
            (root / "folder").rename(root / "moved")
            (root / "folder").symlink_to(root.parent)
        return real

    monkeypatch.setattr(Files, "locate", locate_then_exchange)
    with pytest.raises(PathRefused):
        access.open("folder/outside.txt")
    (root / "folder").unlink()
    (root / "moved").rename(root / "folder")
    with pytest.raises(PathRefused), access.output("folder/outside.txt"):
        raise AssertionError("opened for writing")
    assert (root.parent / "outside.txt").read_text() == "outside"


def test_no_roots_means_no_files(root: Path) -> None:
    with pytest.raises(PathRefused, match="no folder at all"):
        Files.within([]).open(str(root / "inside.txt"))


def test_several_roots_and_the_root_of_all(root: Path) -> None:
    both = Files.within([str(root), str(root.parent / "root-too")])
    both.open(str(root.parent / "root-too" / "file")).close()
    Files.within(["/"]).open(str(root / "inside.txt")).close()


def test_a_root_may_be_a_link(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    Files.within([str(link)]).open(str(link / "inside.txt")).close()


@pytest.mark.parametrize("roots", ["/tmp", ["relative"], [b"/tmp"], [5]])
def test_roots_are_absolute_paths(roots: object) -> None:
    with pytest.raises((SettingsError, TypeError)):
        Files.within(roots)  # type: ignore[arg-type]


def test_keys_have_roots_of_their_own(root: Path) -> None:
    keys = root.parent / "keys"
    keys.mkdir()
    (keys / "k").write_text("key")
    access = Files.within([str(root)], [str(keys)])
    access.open(str(keys / "k"), key=True).close()
    with pytest.raises(PathRefused):
        access.open(str(keys / "k"))
    with pytest.raises(PathRefused):
        access.open(str(root / "inside.txt"), key=True)
    with pytest.raises(PathRefused):
        Files.within([str(root)]).open(str(keys / "k"), key=True)


def test_only_regular_files_are_opened(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / "socket"))
        for name in ("pipe", "socket", "/dev/zero", str(root)):
            with pytest.raises(TaskDataError, match="is no regular file"):
                Files().open(str(root / name))


def test_only_regular_files_are_replaced(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to(root / "loop")
    for name in ("pipe", "loop"):
        with pytest.raises(TaskDataError), Files().output(str(root / name)):
            raise AssertionError("opened for writing")
    assert stat.S_ISFIFO((root / "pipe").lstat().st_mode)
    assert sorted(os.listdir(root)) == ["inside.txt", "loop", "pipe"]


def test_what_is_not_there_is_said(root: Path) -> None:
    with pytest.raises(TaskDataError, match=r"'absent.txt' does not exist"):
        Files.within([str(root)]).open("absent.txt")
    with pytest.raises(TaskDataError, match="is too long"):
        Files.within([str(root)]).open("x" * 5000)
    with (
        pytest.raises(TaskDataError, match=r"'no/folder.txt' does not exist"),
        Files.within([str(root)]).output("no/folder.txt"),
    ):
        raise AssertionError
    with (
        pytest.raises(PathRefused, match="is there and is no regular file"),
        Files().output(str(root)),
    ):
        raise AssertionError


@pytest.fixture(params=["nameless", "hidden"])
def drafts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of draft: file systems differ."""
    if request.param == "hidden":
        opened = os.open

        def without_tmpfile(path: str, flags: int, mode: int = 0o777, **options: int) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "no O_TMPFILE here")
            return opened(path, flags, mode, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(files.os, "open", without_tmpfile)


@pytest.mark.usefixtures("drafts")
def test_an_output_appears_whole(root: Path) -> None:
    target = root / "inside.txt"
    with Files.within([str(root)]).output("inside.txt") as file:
        file.write(b"new")
        file.flush()
        assert target.read_text() == "inside"
    assert target.read_text() == "new"
    assert os.listdir(root) == ["inside.txt"]
    assert not stat.S_IMODE(target.stat().st_mode) & 0o111


@pytest.mark.usefixtures("drafts")
def test_nothing_is_left_of_an_output_that_failed(root: Path) -> None:
    def write_half() -> None:
        with Files().output(str(root / "inside.txt")) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert (root / "inside.txt").read_text() == "inside"
    assert os.listdir(root) == ["inside.txt"]


def test_nothing_is_left_of_an_output_whose_process_was_killed(root: Path) -> None:
    code = (
        "import sys, time\nfrom celery_workerpool.handlers import Files\n"
        "with Files().output(sys.argv[1]) as file:\n"
        "    file.write(b'x' * 100_000)\n    file.flush()\n"
        "    print('writing', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(root / "new.bin")], cwd=ROOT, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        writer.send_signal(signal.SIGKILL)
    assert os.listdir(root) == ["inside.txt"]


def test_no_descriptor_is_left_open(root: Path, leak_check: None) -> None:
    access = Files.within([str(root)])
    for path in ("../outside.txt", ".", "absent", "x/y"):
        with pytest.raises(TaskDataError):
            access.open(path)
        with pytest.raises(TaskDataError), access.output(path):
            raise TaskDataError
