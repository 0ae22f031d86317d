"""A disk whose power can fail at any call, for tests: what was not synced by then is lost, in several ways.

It really writes, and beside that keeps a model: files and directories as inodes, and every change of a name as an
edit that is durable only once the directory it was made in has been synced. After the cut :meth:`PowerCut.aftermaths`
gives the trees that a power cut may leave, pessimistically: unsynced names done or undone in many combinations,
unsynced content absent, half there, or whole.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import BinaryIO, Literal

import pytest

from recorder import disk
from recorder.disk import Disk
from recorder.errors import DiskError

Content = Literal["lost", "half", "whole"]
Tree = dict[str, "Tree | bytes"]

_ALL_SUBSETS = 3
"""Of so many unsynced names every combination is tried; of more, each beginning and each one missing."""


class PowerLoss(BaseException):
    """The power went. Not an Exception: nothing in the program can handle it."""


class Unsynced(Disk):
    """The real disk, for tests that cut no power: syncing is what takes time, and would change nothing."""

    def sync(self, file: BinaryIO) -> None:
        pass

    def sync_dir(self, path: Path) -> None:
        assert path.is_dir()


@dataclass(eq=False)
class _File:
    durable: bytes
    now: bytes

    def after(self, content: Content) -> bytes:
        if content == "lost":
            return self.durable
        if content == "whole":
            return self.now
        longer, shorter = sorted((self.durable, self.now), key=len, reverse=True)
        return longer[: (len(longer) + len(shorter)) // 2]


@dataclass(eq=False)
class _Dir:
    names: dict[str, _File | _Dir] = field(default_factory=dict)


@dataclass(eq=False)
class _Edit:
    """One change of names that happens wholly or not at all; durable once ``where`` is synced."""

    where: _Dir
    changes: list[tuple[_Dir, str, _File | _Dir | None]]
    durable: bool = False


class PowerCut(Unsynced):
    """The disk under ``root``, until the power fails at call ``cut_at`` (the first is 1), before it is done.

    With ``fails`` that call raises this error number instead, once, a write when it is half done. ``can_swap``
    False makes it a disk that cannot exchange two directories in one step.
    """

    def __init__(
        self, root: Path, *, cut_at: int | None = None, fails: int | None = None, can_swap: bool = True
    ) -> None:
        self.calls: list[str] = []
        self.lost = False
        self._root = root
        self._cut_at = cut_at
        self._fails = fails
        self._can_swap = can_swap
        self._edits: list[_Edit] = []
        self._files: dict[int, _File] = {}
        self._before: list[tuple[_Dir, dict[str, _File | _Dir]]] = []
        self._top = self._scan(root)

    def create(self, path: Path) -> BinaryIO:
        self._call(f"create {path.name}")
        opened = super().create(path)
        self._edit(path.parent, (path, self._opened(opened, _File(b"", b""))))
        return opened

    def open_append(self, path: Path) -> BinaryIO:
        self._call(f"open {path.name}")
        opened = super().open_append(path)
        found = self._find(path)
        assert isinstance(found, _File)
        self._opened(opened, found)
        return opened

    def write(self, file: BinaryIO, content: bytes | memoryview) -> None:
        written = self._files[os.fstat(file.fileno()).st_ino]
        whole = bytes(content)
        try:
            self._call(f"write {len(whole)} to {Path(file.name).name}")
        except DiskError:
            super().write(file, whole[: len(whole) // 2])
            written.now += whole[: len(whole) // 2]
            raise
        super().write(file, whole)
        written.now += whole

    def sync(self, file: BinaryIO) -> None:
        self._call(f"sync {Path(file.name).name}")
        super().sync(file)
        synced = self._files[os.fstat(file.fileno()).st_ino]
        synced.durable = synced.now

    def truncate(self, file: BinaryIO, size: int) -> None:
        self._call(f"truncate {Path(file.name).name}")
        super().truncate(file, size)
        cut = self._files[os.fstat(file.fileno()).st_ino]
        cut.now = cut.now[:size]

    def sync_dir(self, path: Path) -> None:
        self._call(f"sync_dir {path.name}")
        super().sync_dir(path)
        if path.is_relative_to(self._root):
            synced = self._find(path)
            for edit in self._edits:
                edit.durable = edit.durable or edit.where is synced

    def add_dir(self, path: Path) -> None:
        self._call(f"mkdir {path.name}")
        there = path.is_dir()
        super().add_dir(path)
        if not there:
            made = _Dir()
            self._before.append((made, {}))
            self._edit(path.parent, (path, made))

    def rename(self, old: Path, new: Path) -> None:
        self._call(f"rename {old.name} to {new.name}")
        super().rename(old, new)
        self._edit(new.parent, (new, self._find(old)), (old, None))

    def link(self, existing: Path, new: Path) -> None:
        self._call(f"link {new.name}")
        super().link(existing, new)
        self._edit(new.parent, (new, self._find(existing)))

    def unlink(self, path: Path) -> None:
        self._call(f"unlink {path.name}")
        super().unlink(path)
        self._edit(path.parent, (path, None))

    def remove_tree(self, path: Path) -> None:
        for entry in sorted(path.iterdir()):
            if entry.is_dir():
                self.remove_tree(entry)
            else:
                self.unlink(entry)
        self._call(f"rmdir {path.name}")
        super().remove_tree(path)
        self._edit(path.parent, (path, None))

    def swap(self, one: Path, other: Path) -> bool:
        if not self._can_swap:
            return False
        self._call(f"swap {one.name}")
        done = super().swap(one, other)
        assert done
        self._edit(other.parent, (other, self._find(one)), (one, self._find(other)))
        return done

    def revive(self, *, cut_at: int | None = None) -> None:
        """Let it have been only the process that ended: what it did is there, though not durable yet."""
        self.lost = False
        self._cut_at = cut_at

    def aftermaths(self, contents: tuple[Content, ...] = ("lost", "half", "whole")) -> Iterator[Tree]:
        """Give the different trees that may lie on the disk once the power is back, the emptiest first."""
        seen: list[Tree] = []
        pending = [edit for edit in self._edits if not edit.durable]
        for kept, content in product(_subsets(pending), contents):
            for directory, names in self._before:
                directory.names = dict(names)
            for edit in self._edits:
                if edit.durable or edit in kept:
                    _apply(edit)
            tree = _tree(self._top, content)
            if tree not in seen:
                seen.append(tree)
                yield tree

    def _call(self, what: str) -> None:
        if self.lost:
            raise PowerLoss("the power is still out")
        self.calls.append(what)
        if len(self.calls) != self._cut_at:
            return
        if self._fails is None:
            self.lost = True
            raise PowerLoss(what)
        with disk._says(f"cannot {what}"):
            raise OSError(self._fails, os.strerror(self._fails))

    def _opened(self, opened: BinaryIO, file: _File) -> _File:
        self._files[os.fstat(opened.fileno()).st_ino] = file
        return file

    def _edit(self, where: Path, *changes: tuple[Path, _File | _Dir | None]) -> None:
        edit = _Edit(self._folder(where), [(self._folder(path.parent), path.name, to) for path, to in changes])
        _apply(edit)
        self._edits.append(edit)

    def _scan(self, path: Path) -> _Dir:
        found = _Dir()
        for entry in path.iterdir():
            if entry.is_dir():
                found.names[entry.name] = self._scan(entry)
            else:
                content = entry.read_bytes()
                found.names[entry.name] = self._files.setdefault(entry.stat().st_ino, _File(content, content))
        self._before.append((found, dict(found.names)))
        return found

    def _find(self, path: Path) -> _File | _Dir:
        found: _File | _Dir = self._top
        for name in path.relative_to(self._root).parts:
            assert isinstance(found, _Dir)
            found = found.names[name]
        return found

    def _folder(self, path: Path) -> _Dir:
        found = self._find(path)
        assert isinstance(found, _Dir)
        return found


def lay(tree: Tree, at: Path) -> Path:
    """Write a tree to the empty place ``at``."""
    at.mkdir(parents=True)
    for name, content in tree.items():
        if isinstance(content, bytes):
            (at / name).write_bytes(content)
        else:
            lay(content, at / name)
    return at


def _apply(edit: _Edit) -> None:
    for directory, name, to in edit.changes:
        if to is None:
            directory.names.pop(name, None)
        else:
            directory.names[name] = to


def _subsets(pending: list[_Edit]) -> Iterator[list[_Edit]]:
    if len(pending) <= _ALL_SUBSETS:
        for chosen in product((False, True), repeat=len(pending)):
            yield [edit for edit, kept in zip(pending, chosen, strict=True) if kept]
        return
    for count in range(len(pending) + 1):
        yield pending[:count]
        yield pending[:count] + pending[count + 1 :]


def _tree(directory: _Dir, content: Content) -> Tree:
    return {
        name: _tree(entry, content) if isinstance(entry, _Dir) else entry.after(content)
        for name, entry in directory.names.items()
    }


@contextmanager
def same_names() -> Iterator[None]:
    """Give new files the same names in each run, so that trees of several runs can be compared."""
    names = itertools.count(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=next(names) << 64))
        yield
