"""What a disk may hold after a power failure, given the log of a `Disk`.

What was written to a file since its last fsync may be there, lost or torn. What happened to the
names of a folder since that folder's last fsync may be there or not, each name on its own; a
renaming counts for both of its folders. An fsync of a file says nothing of its name.
"""

import dataclasses
import os
from pathlib import Path


@dataclasses.dataclass(eq=False)
class _File:
    data: bytearray
    synced: bytes | None  # None before the first fsync


@dataclasses.dataclass(eq=False)
class _Folder:
    names: dict


@dataclasses.dataclass(eq=False)
class _Change:
    """Names of folders that change together, and the node that the last of them has from then."""

    names: tuple
    node: object  # None if the name is removed
    after: tuple  # changes of the same names before it
    is_durable: bool = False


class Power:
    """The disk that a log describes, event by event, and what may be left of it."""

    def __init__(self, folder):
        self.folder = os.path.realpath(folder)
        self.root = _read(Path(folder))  # all of it is durable
        self._start = _names(self.root)
        self.changes = []

    def apply(self, what, path, *more):
        """Let an event of the log happen."""
        getattr(self, f"_{what}")(path, *more)

    def _place(self, path):
        parts = os.path.relpath(path, self.folder).split(os.sep)
        folder = self.root
        for part in parts[:-1]:
            folder = folder.names[part]
        return folder, parts[-1]

    def _node(self, path):
        if path == self.folder:
            return self.root
        folder, name = self._place(path)
        return folder.names.get(name)

    def _changed(self, names, node):
        before = tuple(
            next((c for c in reversed(self.changes) if name in c.names), None) for name in names
        )
        self.changes.append(_Change(names, node, tuple(c for c in before if c is not None)))
        for folder, name in names[:-1]:
            del folder.names[name]
        folder, name = names[-1]
        if node is None:
            del folder.names[name]
        else:
            folder.names[name] = node

    def _create(self, path):
        node = self._node(path)
        if node is None:
            self._changed((self._place(path),), _File(bytearray(), None))
        else:
            node.data.clear()

    def _write(self, path, offset, data):
        self._node(path).data[offset : offset + len(data)] = data

    def _truncate(self, path, size):
        del self._node(path).data[size:]

    def _mkdir(self, path):
        self._changed((self._place(path),), _Folder({}))

    def _unlink(self, path):
        self._changed((self._place(path),), None)

    _rmdir = _unlink

    def _rename(self, path, target):
        self._changed((self._place(path), self._place(target)), self._node(path))

    def _link(self, path, target):
        self._changed((self._place(target),), self._node(path))

    def _fsync(self, path):
        node = self._node(path)
        if isinstance(node, _File):
            node.synced = bytes(node.data)
            return
        for change in self.changes:
            change.is_durable |= any(folder is node for folder, _ in change.names)

    def write(self, target, names, data, rng):
        """Write what is left to a folder.

        `names` is the share of changes of names that survive without an fsync, `data` that of what
        files hold; between 0 and 1 chance decides of each.
        """
        chosen = set()
        for change in reversed(self.changes):
            if change in chosen or change.is_durable or rng.random() < names:
                pending = [change]
                while pending:  # what it rests on has survived, too
                    chosen.add(one := pending.pop())
                    pending += [c for c in one.after if c not in chosen]
        entries = {folder: dict(names) for folder, names in self._start.items()}
        for change in self.changes:
            if change in chosen:
                for folder, name in change.names[:-1]:
                    entries.setdefault(folder, {}).pop(name, None)
                folder, name = change.names[-1]
                if change.node is None:
                    entries.setdefault(folder, {}).pop(name, None)
                else:
                    entries.setdefault(folder, {})[name] = change.node
        _write(self.root, entries, Path(target), data, rng)


def _read(path):
    if path.is_dir():
        return _Folder({p.name: _read(p) for p in path.iterdir()})
    content = path.read_bytes()
    return _File(bytearray(content), content)


def _names(folder):
    """Names in every folder below one."""
    names = {folder: dict(folder.names)}
    for node in folder.names.values():
        if isinstance(node, _Folder):
            names |= _names(node)
    return names


def _write(folder, entries, path, share, rng):
    path.mkdir(exist_ok=True)
    for name, node in entries.get(folder, {}).items():
        if isinstance(node, _Folder):
            _write(node, entries, path / name, share, rng)
        else:
            (path / name).write_bytes(_remains(node, share, rng))


def _remains(file, share, rng):
    """What is left of the content of a file."""
    data, synced = bytes(file.data), file.synced or b""
    if data == file.synced or share == 1:
        return data
    if share == 0 or not data:
        return synced
    cut = int(rng.integers(len(data) + 1))
    zeros = bytes(len(data) - cut)
    return [synced, data, data[:cut], data[:cut] + zeros][rng.integers(4)]
