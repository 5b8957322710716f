"""Folders of weights as Hugging Face has them, without its libraries.

Such a folder has one file of weights, of msgpack or safetensors, or an index, which
says in JSON in which of several files each of them is. An index comes from anyone: what
it names are files of its own folder, and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from .errors import SerializationError, listed, nearest
from .flat import flattened, names_under, nested
from .magic import MAX_HEADER
from .state_dict import from_state_dict
from .stream import restore, safetensors_metadata, split_path
from .types import Leaf, Tree

__all__ = [
    "INDEX",
    "Pretrained",
    "Shards",
    "has_weights",
    "restore_pretrained",
    "shards_of",
    "weights_file",
]


INDEX: Final = ".index.json"
"""What the name of an index ends in."""

# In this order: what is of Flax has the structure that its models want.
_NAMES: Final = tuple(
    name + end
    for name in (
        "flax_model.msgpack",
        "model.safetensors",
        "diffusion_flax_model.msgpack",
        "diffusion_pytorch_model.safetensors",
    )
    for end in ("", INDEX)
)
_ENDS: Final = (".msgpack", ".safetensors")
_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class Pretrained(NamedTuple):
    """What was read from a folder.

    Attributes:
      tree: the tree, or an object like the target.
      files: the names of the files that were read; the index first, where there is one.
      metadata: what is said of safetensors, such as `{"format": "pt"}`.
      left: names in the files that the index does not have, or has in another file.

    >>> Pretrained({}, ("model.safetensors",), {"format": "pt"}).left
    ()
    """

    tree: Tree
    files: tuple[str, ...]
    metadata: Mapping[str, str] = {}
    left: tuple[str, ...] = ()


class Shards(NamedTuple):
    """What an index says.

    Attributes:
      separator: what the names of branches are joined with; None where they are taken
        as they are.
      files: the names of weights, by the files that they are in.

    >>> Shards(".", {"model-00001-of-00001.safetensors": ["a.b"]}).separator
    '.'
    """

    separator: str | None
    files: dict[str, list[str]]

    def collected(
        self, read: Callable[[str], Mapping[str, Leaf]], path: Sequence[str] = ()
    ) -> tuple[Tree, tuple[str, ...]]:
        """Reads the files, and takes from each what it should have.

        Args:
          read: gives what is in a file, by the names that the index uses.
          path: names of branches; only files with something under them are read.

        Returns:
          The tree, or the part of it at `path`; and names in the files that were left
          out.

        Raises:
          SerializationError: a file lacks a weight, or there is nothing at `path`.

        >>> Shards(".", {"x": ["a.b"]}).collected(lambda name: {"a.b": 1, "c": 2})
        ({'a': {'b': 1}}, ('c',))
        """
        names = [name for some in self.files.values() for name in some]
        wanted = set(names_under(names, path, self.separator))
        found: dict[str, Leaf] = {}
        left: list[str] = []
        for file, some in self.files.items():
            if wanted.isdisjoint(some):
                continue
            weights = read(file)
            for name in some:
                if name not in weights:
                    raise SerializationError(
                        f"The index says that {name!r} is in {file!r}, and it is not"
                        f"{nearest(name, weights)}. The file is of another model, or "
                        "of another version of it.",
                        name,
                    )
                if name in wanted:
                    found[name] = weights[name]
            left += weights.keys() - set(some)
        rest = tuple(sorted(left))
        if self.separator is None:
            return (found[path[0]] if path else found), rest
        return nested(found, self.separator, len(path)), rest


def restore_pretrained(
    folder: str | os.PathLike[str],
    target: Tree = None,
    *,
    file: str | None = None,
    path: str | Sequence[str] = (),
    copy: bool = False,
    separator: str | None = ".",
) -> Pretrained:
    """Reads the weights in a folder of Hugging Face, mapped, without its libraries.

    Read is the first of these that is there: `flax_model.msgpack`, `model.safetensors`,
    `diffusion_flax_model.msgpack`, `diffusion_pytorch_model.safetensors`, or the index
    of one of them, `*.index.json`, and the files that it names; and else the only file
    of these kinds, whatever its name. Weights of PyTorch are not changed: their axes
    and names are those of PyTorch.

    Args:
      folder: the folder.
      target: an object with the structure of what is restored, as for `restore`.
      file: the name of the file in the folder, or of the index, that is to be read.
      path: reads only what lies under these names from the root.
      copy: returns arrays of their own, which can be written to.
      separator: what the names in safetensors are joined with; None gives one dict,
        with the names of the files.

    Returns:
      The tree, and which files it was read from.

    Raises:
      SerializationError: a file is damaged or missing, the index leads out of the
        folder, or there is nothing to read, or several files and none is asked for.
      OSError: the folder or a file cannot be read.

    >>> import tempfile
    >>> import numpy as np
    >>> from batiste.serialization import restore_pretrained, serialize
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "model.safetensors")
    ...     size = serialize({"wte": {"weight": np.ones(2)}}, file)
    ...     found = restore_pretrained(folder, copy=True)
    >>> found.files, found.tree
    (('model.safetensors',), {'wte': {'weight': array([1., 1.])}})
    """
    folder, names = os.fspath(folder), split_path(path)
    chosen = weights_file(folder, file)
    files, left = [chosen], ()
    if not chosen.endswith(INDEX):
        place = os.path.join(folder, chosen)
        state = restore(place, path=names, copy=copy, separator=separator)
    else:
        shards = shards_of(os.path.join(folder, chosen))

        def read(name: str) -> Mapping[str, Leaf]:
            files.append(name)
            place = os.path.join(folder, name)
            return by_name(restore(place, copy=copy, separator=None), name)

        if shards.separator == ".":
            shards = shards._replace(separator=separator)
        state, left = shards.collected(read, names)
    metadata: dict[str, str] = {}
    for name in files:
        if name.endswith(".safetensors"):
            metadata |= safetensors_metadata(os.path.join(folder, name))
    tree = from_state_dict(target, state)
    return Pretrained(tree, tuple(files), metadata, left)


def by_name(tree: Tree, file: str) -> Mapping[str, Leaf]:
    """Gives the leaves in a file by the names that an index has for them.

    >>> by_name({"a": {"b": 1}}, "x.msgpack")
    {'a/b': 1}
    """
    if not file.endswith(".msgpack"):
        return tree
    return {"/".join(path): leaf for path, leaf in flattened(tree, "/")}


def has_weights(folder: str) -> bool:
    """Tells whether a folder holds files that `restore_pretrained` reads.

    >>> has_weights(os.devnull)
    False
    """
    try:
        return any(name.endswith((*_ENDS, INDEX)) for name in os.listdir(folder))
    except OSError:
        return False


def weights_file(folder: str, file: str | None = None) -> str:
    """Chooses what is to be read in a folder.

    Args:
      folder: the folder.
      file: the name of one in it; None chooses as `restore_pretrained` says.

    Returns:
      Its name.

    Raises:
      SerializationError: it is not there, or there is none, or several.
      OSError: the folder cannot be read.
    """
    there = sorted(os.listdir(folder))
    indexes = [name for name in there if name.endswith(INDEX)]
    known = [name for name in there if name.endswith((*_ENDS, INDEX))]
    if file is not None:
        if file not in known:
            raise SerializationError(
                f"There is no file of weights {file!r} in this folder"
                f"{nearest(file, known)}. Here are: {listed(known) or 'none'}."
            )
        return file
    for name in _NAMES:
        if name in known:
            return name
    found = indexes or known
    if len(found) == 1:
        return found[0]
    if found:
        raise SerializationError(
            f"Several files in this folder may be meant: {listed(found)}. Pass file= "
            "with one of them."
        )
    pickles = [name for name in there if name.endswith(_PICKLES)]
    why = (
        f" What is there, {listed(pickles)}, are pickles, which run code when they are "
        "read: load them with PyTorch, and save safetensors."
        if pickles
        else ""
    )
    raise SerializationError(
        f"The folder has no weights: no file that ends in {', '.join(_ENDS)} or "
        f"{INDEX}.{why}"
    )


def shards_of(index: str) -> Shards:
    """Reads an index, and looks whether the files that it names are there.

    Args:
      index: its path.

    Returns:
      What it says.

    Raises:
      SerializationError: it is damaged, names what is not in its folder, or files are
        missing.
      OSError: it cannot be read.
    """
    folder = os.path.dirname(index)
    weights = _weight_map(index)
    files: dict[str, list[str]] = {}
    for name, file in weights.items():
        if not isinstance(file, str) or not file.endswith(_ENDS):
            raise SerializationError(
                f"The index says that {name!r} is in {file!r:.100}, which is no file "
                f"of weights: its name does not end in {' or '.join(_ENDS)}.",
                name,
            )
        if not _is_plain(file):
            raise SerializationError(
                f"The index says that {name!r} is in {file!r}, which is not in its own "
                "folder. It is not read: the index is damaged, or made to do harm.",
                name,
            )
        files.setdefault(file, []).append(name)
    kinds = {os.path.splitext(file)[1] for file in files}
    if len(kinds) > 1:
        raise SerializationError(
            "The index names files of msgpack and of safetensors, whose weights have "
            "names of two kinds."
        )
    missing = [f for f in files if not os.path.isfile(os.path.join(folder, f))]
    if missing:
        count = sum(len(files[file]) for file in missing)
        raise SerializationError(
            f"Of {len(files)} files that the index names, these are missing: "
            f"{listed(missing)}; {count} of {len(weights)} weights are in them. Get "
            "the rest of the folder.",
            files[missing[0]][0],
        )
    return Shards("/" if kinds == {".msgpack"} else ".", files)


def _weight_map(index: str) -> dict[str, Any]:
    if os.path.getsize(index) > MAX_HEADER:
        raise SerializationError(
            f"The index has {os.path.getsize(index)} bytes, and no model has that many "
            "names: it is another kind of file."
        )
    import json

    with open(index, "rb") as file:
        data = file.read()
    try:
        found = json.loads(data.decode(), object_pairs_hook=_unique)
        weights = found["weight_map"]
        if not isinstance(weights, dict) or not weights:
            raise ValueError("its weight_map is no object with names in it")
    except UnicodeDecodeError as error:
        what, offset = error.reason, error.start
    except json.JSONDecodeError as error:
        what, offset = error.msg, len(error.doc[: error.pos].encode())
    except (KeyError, TypeError):
        what, offset = "it has no weight_map", 0
    except (ValueError, RecursionError) as error:
        what, offset = str(error), 0
    else:
        return weights
    raise SerializationError(
        f"The index {os.path.basename(index)!r} cannot be read: {what}.", None, offset
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))
        raise ValueError(f"the name {twice!r} appears twice in it")
    return found


def _is_plain(name: str) -> bool:
    """Whether a name is that of a file in a folder, on any system."""
    return not any(c in name for c in "/\\:\0") and name.strip(". ") != ""
