"""Run a script, a module or a text as Python itself would, as `__main__`."""

from __future__ import annotations

import builtins
import importlib.util
import io
import os
import runpy
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any, NoReturn

__all__ = ["run_code", "run_input", "run_module", "run_script"]


def run_script(path: str, arguments: list[str]) -> None:
    """Runs a file, or a folder or zip archive that holds a `__main__.py`.

    Args:
      path: the file.
      arguments: what the program sees as `sys.argv[1:]`.
    """
    if not os.path.exists(path):
        print(f"python -m batiste.flax: no such file: {path!r}", file=sys.stderr)
        sys.exit(2)
    sys.argv[:] = [path, *arguments]
    if os.path.isdir(path) or os.path.isfile(path) and _is_archive(path):
        _set_first_folder(None)  # `run_path` puts it there itself
        runpy.run_path(path, run_name="__main__")
        return
    # What lies behind `/dev/fd/63`, as bash passes `<(...)`, has no folder.
    _set_first_folder(os.path.dirname(os.path.realpath(path)))
    with io.open_code(os.path.abspath(path)) as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    loader = SourceFileLoader("__main__", path)
    _run(code, __file__=path, __loader__=loader, __cached__=None)


def run_module(name: str, arguments: list[str]) -> None:
    """Runs a module, or the `__main__` of a package.

    Args:
      name: its whole name.
      arguments: what the program sees as `sys.argv[1:]`.
    """
    _set_first_folder(os.getcwd())
    spec = _main_spec(name)
    loader: Any = spec.loader
    code = loader.get_code(spec.name)
    if code is None:
        _exit_without(name, "it holds no Python code")
    sys.argv[:] = [spec.origin or name, *arguments]
    _run(
        code,
        spec=spec,
        __file__=spec.origin,
        __loader__=loader,
        __cached__=spec.cached,
        __package__=spec.parent,
    )


def run_code(text: str, arguments: list[str]) -> None:
    """Runs a text.

    Args:
      text: the program.
      arguments: what the program sees as `sys.argv[1:]`.
    """
    sys.argv[:] = ["-c", *arguments]
    _set_first_folder("")
    _run(compile(text, "<string>", "exec", dont_inherit=True))


def run_input(arguments: list[str]) -> None:
    """Runs what standard input holds, as `python -` does.

    Args:
      arguments: what the program sees as `sys.argv[1:]`.
    """
    sys.argv[:] = ["-", *arguments]
    _set_first_folder("")
    # As bytes, for a program may say which encoding it has. One that reads the rest of
    # the input finds its end.
    source = getattr(sys.stdin, "buffer", sys.stdin).read()
    _run(compile(source, "<stdin>", "exec", dont_inherit=True))


def _run(code: CodeType, spec: ModuleSpec | None = None, **names: Any) -> None:
    # The module stays in place when the program ends: what it left to do at exit, and
    # in other threads, finds it, as it does when Python runs the program itself.
    module = ModuleType("__main__")
    module.__dict__.update({"__builtins__": builtins, "__spec__": spec, **names})
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


def _set_first_folder(folder: str | None) -> None:
    """Puts the program's folder where `python -m` had put the current one."""
    if not sys.flags.safe_path:
        sys.path[:1] = [] if folder is None else [folder]


def _is_archive(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _main_spec(name: str) -> ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
            if spec is None:
                _exit_without(name, "it is a package without a __main__ module")
    except ModuleNotFoundError as error:
        _exit_without(name, str(error))
    if spec is None or spec.loader is None:
        _exit_without(name, "no such module")
    return spec


def _exit_without(name: str, reason: str) -> NoReturn:
    print(f"python -m batiste.flax: cannot run {name!r}: {reason}", file=sys.stderr)
    sys.exit(1)
