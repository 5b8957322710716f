"""The whole signature of what both indexes list: names, kinds, order and defaults."""

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import types
import typing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import batiste.flax

DATA = Path(__file__).parent / "data"
KINDS = inspect.Parameter
POSITIONAL = (KINDS.POSITIONAL_ONLY, KINDS.POSITIONAL_OR_KEYWORD)
REQUIRED = KINDS.empty

# What differs from an index, and why: by callable, then by what the test finds. Names
# that are not there at all, `test_names.py` lists.
FORMATS = "to write and read safetensors"
IN_ERRORS = "by keyword, errors are told what was found, and what is near"
TWO = "as documented and as in later versions: both are taken, told apart by values"
EXCEPTIONS = {
    "flax.core.lift.checkpoint": {
        "adds static_argnames": "static arguments may come by keyword, as in `jit`",
    },
    "flax.core.lift.jit": {
        "adds fingerprint": "for those who make functions anew: what they compute",
    },
    "flax.core.lift.remat_scan": {
        "adds metadata_params": "to name the axes of boxed variables, as in `scan`",
    },
    "flax.core.scope.LazyRng": {
        "suffix=() not required": "keys begin without one",
    },
    "flax.core.tracers.check_trace_level": {"adds scope_path": IN_ERRORS},
    "flax.errors": {
        f"adds {name}": IN_ERRORS
        for name in (
            *("attr_name", "available", "closed_over", "found", "maker"),
            *("methods", "missing", "module_cls", "names", "parent", "scope_path"),
            "transform",
        )
    },
    "flax.serialization.msgpack_serialize": {
        "adds max_chunk_size": "set for one call, not for all of a process",
    },
    "flax.serialization.to_bytes": {
        "adds max_chunk_size": "set for one call, not for all of a process",
        **{f"adds {name}": FORMATS for name in ("format", "separator", "metadata")},
    },
    "flax.serialization.from_bytes": {
        f"adds {name}": FORMATS for name in ("format", "separator")
    },
    "flax.linen.module.wrap_descriptor_once": {
        "adds name": "for the messages of errors",
    },
    "flax.linen.module.Module.tabulate": {
        "mutable=DenyList(deny='intermediates') not True": (
            "config `tabulate_intermediates` adds them in generation 0.6"
        ),
    },
    "flax.linen.summary.tabulate": {
        "mutable=DenyList(deny='intermediates') not True": (
            "config `tabulate_intermediates` adds them in generation 0.6"
        ),
    },
    "flax.linen.summary.Row": {
        "flops=-1 not required": "rows are made before their costs are known",
        "vjp_flops=-1 not required": "rows are made before their costs are known",
        "lacks module_type": "a property, of `module_copy`, which later versions have",
        "order of module_type": "a property",
    },
    "flax.linen.attention.MultiHeadDotProductAttention.__call__": {
        "deterministic: POSITIONAL_OR_KEYWORD not KEYWORD_ONLY": TWO,
        "inputs_kv: KEYWORD_ONLY not POSITIONAL_OR_KEYWORD": TWO,
        "mask: KEYWORD_ONLY not POSITIONAL_OR_KEYWORD": TWO,
        "order of inputs_kv, mask": TWO,
    },
    "flax.linen.linear.Embed": {
        "lacks embedding": "no argument: `setup` defines it",
        "order of embedding": "no argument: `setup` defines it",
    },
    **{
        f"flax.linen.recurrent.{cell}": {
            "features=None not required": "the documentation has cells without",
        }
        for cell in (
            "LSTMCell",
            "OptimizedLSTMCell",
            "GRUCell",
            "SimpleCell",
            "MGUCell",
        )
    },
    **{
        f"flax.linen.recurrent.{cell}.initialize_carry": {
            "input_shape=None not required": TWO,
            "batch_dims=None not required": TWO,
            "batch_dims: KEYWORD_ONLY not POSITIONAL_OR_KEYWORD": TWO,
            "order of batch_dims": TWO,
            "size=None not required": TWO,
            "init_fn=None not zeros": TWO,
            "is no staticmethod": TWO,
        }
        for cell in ("LSTMCell", "OptimizedLSTMCell", "GRUCell", "ConvLSTMCell")
    },
    **{
        f"flax.linen.recurrent.{cell}.initialize_carry": {
            "input_shape=None not required": TWO,
            "adds size": TWO,
            "adds init_fn": TWO,
            "adds batch_dims": TWO,
        }
        for cell in ("SimpleCell", "MGUCell")
    },
    "flax.linen.recurrent.RNNCellBase.initialize_carry": dict.fromkeys(
        (
            *("is no staticmethod", "lacks batch_dims", "lacks size", "lacks init_fn"),
            *("adds self", "order of rng, batch_dims, size, init_fn"),
        ),
        "to be implemented in either style; by itself it raises an error",
    ),
    "flax.linen.recurrent.RNN": {
        "cell_size=None not required": "cells with features need none",
        "order of time_major, return_carry, reverse, keep_order, unroll, "
        "variable_axes, variable_broadcast, variable_carry, split_rngs": TWO,
    },
    "flax.linen.recurrent.RNNBase.__call__": {
        "lacks segmentation_mask": "layers need not have both, as one is passed",
    },
    "flax.linen.recurrent.flip_sequences": {
        "lacks segmentation_mask": "`seq_lengths` may be a mask",
        "order of segmentation_mask": "`seq_lengths` may be a mask",
    },
    "flax.linen.transforms.remat_scan": {
        "adds metadata_params": "to name the axes of boxed variables, as in `scan`",
    },
    "flax.linen.transforms.fold_rngs": {
        "adds methods": "as all the transforms have it"
    },
    "flax.linen.fp8_ops.fp8_meta_dtype_wrapper": {
        "adds _rules": "where JAX looks for the rules of a dtype",
        "order of type": "behind the rules; both have defaults",
    },
    # Functions, whose two orders the types of the values tell apart.
    "flax.core.lift.jit of 0.6": {"order of donate_argnums, device, backend": TWO},
    "flax.linen.transforms.jit of 0.6": {
        "order of donate_argnums, device, backend, methods": TWO
    },
    "flax.core.lift.scan of 0.6": {"order of data_transform, metadata_params": TWO},
    "flax.core.scope.Scope.__init__ of 0.6": {"order of flags": TWO},
}

# Classes whose annotated attributes are no arguments, in the releases either.
NO_DATACLASSES = ("flax.configurations.Config", "flax.core.scope.Scope")


def index(generation):
    """Lines of an index by module and owner, which is a class, or "" for the module."""
    found, module, owner = {}, "", ""
    text = (DATA / f"signatures_{generation}.txt").read_text("utf-8")
    for line in text.splitlines():
        if line.startswith("## "):
            module = line[3:]
        elif line.startswith("class "):
            owner = line[6:].partition("(")[0]
            found[module, owner] = []
        elif line.startswith("    "):
            found[module, owner].append(line.strip())
        elif line.strip():
            found.setdefault((module, ""), []).append(line.strip())
    return found


class Names(dict):
    """What defaults in an index refer to: names of a module, and of its imports."""

    def __init__(self, module):
        self.module = importlib.import_module(module)
        places = ("flax.linen.initializers", "flax.linen", "flax.core", "flax")
        self.places = [self.module, *map(importlib.import_module, places)]
        proxy = types.MappingProxyType
        super().__init__(jax=jax, jnp=jnp, np=np, lax=jax.lax, dataclasses=dataclasses)
        self.update(MappingProxyType=proxy)

    def __missing__(self, name):
        for place in self.places:
            if hasattr(place, name):
                return getattr(place, name)
        raise KeyError(name)


@dataclasses.dataclass
class Parameter:
    name: str
    kind: typing.Any
    default: typing.Any = REQUIRED


def value_of(node, names):
    """The value of a default; of what the module keeps to itself, its text."""
    if node is None:
        return REQUIRED
    try:
        return eval(ast.unparse(node), {}, names)
    except (NameError, AttributeError):
        return ast.unparse(node)


def documented(line, names):
    """The parameters of a line of an index, such as `.name(a, *, b=1)`."""
    text = re.sub(r"^(@\w+ )?\.?", "", line)
    arguments = typing.cast(typing.Any, ast.parse(f"def {text}: pass").body[0]).args
    positional = [*arguments.posonlyargs, *arguments.args]
    n_required = len(positional) - len(arguments.defaults)
    defaults = [None] * n_required + arguments.defaults
    found = []
    for argument, default in zip(positional, defaults, strict=True):
        kind = POSITIONAL[argument not in arguments.posonlyargs]
        found.append(Parameter(argument.arg, kind, value_of(default, names)))
    if arguments.vararg:
        found.append(Parameter(arguments.vararg.arg, KINDS.VAR_POSITIONAL))
    for argument, default in zip(
        arguments.kwonlyargs, arguments.kw_defaults, strict=True
    ):
        value = value_of(default, names)
        found.append(Parameter(argument.arg, KINDS.KEYWORD_ONLY, value))
    if arguments.kwarg:
        found.append(Parameter(arguments.kwarg.arg, KINDS.VAR_KEYWORD))
    return found


def documented_fields(lines, names):
    """The parameters that the fields of a class make."""
    found = []
    for line in lines:
        if re.match(r"\w+: ", line):
            default = value_of(ast.parse(line).body[0].value, names)  # type: ignore[attr-defined]
            if isinstance(default, dataclasses.Field):
                field, default = default, default.default
                if field.default_factory is not dataclasses.MISSING:
                    default = field.default_factory()
            if default is dataclasses.MISSING:
                default = REQUIRED
            name = line.partition(":")[0]
            found.append(Parameter(name, KINDS.POSITIONAL_OR_KEYWORD, default))
    return found


def parameters(fn, drop=0):
    """The parameters that a function of ours has."""
    found = list(inspect.signature(fn).parameters.values())[drop:]
    return [Parameter(p.name, p.kind, p.default) for p in found]


def parameters_of_fields(cls):
    """The parameters of a constructor that are fields of a class."""
    fields = {f.name: f for f in dataclasses.fields(cls)}
    found = []
    for p in parameters(cls):
        # Every module has these two, behind its own.
        if p.kind is KINDS.KEYWORD_ONLY or p.name not in fields:
            continue
        if fields[p.name].default_factory is not dataclasses.MISSING:
            p.default = fields[p.name].default_factory()
        found.append(p)
    return found


def same(ours, theirs):
    """Whether two defaults do the same."""
    if ours is theirs:
        return True
    if isinstance(ours, typing.Mapping) and isinstance(theirs, typing.Mapping):
        return dict(ours) == dict(theirs)
    if isinstance(theirs, str) and callable(ours):
        return ours.__name__ == theirs
    if inspect.isfunction(ours) and inspect.isfunction(theirs):
        cells = [
            [cell.cell_contents for cell in fn.__closure__ or ()]
            for fn in (ours, theirs)
        ]
        return ours.__code__ is theirs.__code__ and all(map(same, *cells))
    if isinstance(ours, functools.partial) and isinstance(theirs, functools.partial):
        return same(ours.func, theirs.func) and ours.keywords == theirs.keywords
    return type(ours) is type(theirs) and bool(ours == theirs)


def shown(value):
    if value is REQUIRED:
        return "required"
    return getattr(value, "__name__", None) or str(value)


def compare(ours, listed, listed_by_other):
    """How parameters differ from those of an index, each difference as a text."""
    by_name = {p.name: p for p in ours}
    others = {p.name: p for p in listed_by_other}
    for p in listed:
        q = by_name.get(p.name)
        if q is None:
            yield f"lacks {p.name}"
            continue
        if q.kind is not p.kind:
            yield f"{p.name}: {q.kind.name} not {p.kind.name}"
        # What one index requires may have the default that the other one lists.
        other = others.get(p.name)
        optional = p.default is REQUIRED and other and same(q.default, other.default)
        if not optional and not same(q.default, p.default):
            yield f"{p.name}={shown(q.default)} not {shown(p.default)}"
    wanted = [p.name for p in listed if p.kind in POSITIONAL]
    got = [p.name for p in ours if p.kind in POSITIONAL]
    misplaced = [
        name for i, name in enumerate(wanted) if i >= len(got) or got[i] != name
    ]
    if misplaced:
        yield f"order of {', '.join(misplaced)}"
    known = {p.name for p in listed} | others.keys()
    yield from (f"adds {p.name}" for p in ours if p.name not in known)


def compare_callable(holder, owner, line, names, others):
    """How a function or method differs from its line in an index."""
    decorator, name = re.match(r"(?:@(\w+) )?\.?(\w+)\(", line).groups()  # type: ignore[union-attr]
    find = inspect.getattr_static if owner else getattr
    value = find(holder, name, None)
    if value is None:
        return
    if decorator == "property":
        if not hasattr(type(value), "__get__"):
            yield "is no property"
        return
    if isinstance(value, property):  # the line of its setter
        if value.fset is None:
            yield "cannot be set"
        return
    drop = int(bool(owner))
    if decorator in ("classmethod", "staticmethod"):
        if type(value).__name__ != decorator:
            yield f"is no {decorator}"
        drop = 0
        value = getattr(holder, name)
    elif owner and not callable(value):
        value, drop = getattr(holder, name), 0
    listed = documented(line, names)
    beside = [
        p
        for other in others
        if re.match(rf"(@\w+ )?\.?{name}\(", other)
        for p in documented(other, names)
    ]
    yield from compare(parameters(value, drop), listed, beside)


def differences(generation, module):
    """All differences from an index in a module, by the callable's whole name."""
    ours, other = index(generation), index({"0.6": "0.12", "0.12": "0.6"}[generation])
    names = Names(module)
    for (of, owner), lines in ours.items():
        if of != module:
            continue
        holder = getattr(names.module, owner, None) if owner else names.module
        if holder is None:
            continue
        beside = other.get((module, owner), ())
        whole = f"{module}.{owner}".rstrip(".")
        for line in lines:
            if match := re.match(r"(?:@\w+ )?\.?(\w+)\(", line):
                for text in compare_callable(holder, owner, line, names, beside):
                    yield f"{whole}.{match[1]}", text
        fields = documented_fields(lines, names)
        if not fields or whole in NO_DATACLASSES:
            continue
        if dataclasses.is_dataclass(holder):
            own = parameters_of_fields(holder)
            inherited = {
                f.name
                for base in holder.__mro__[1:]
                if dataclasses.is_dataclass(base)
                for f in dataclasses.fields(base)
            } - {p.name for p in fields}
            own = [p for p in own if p.name not in inherited]
            for text in compare(own, fields, documented_fields(beside, names)):
                yield whole, text
        else:
            listed = documented_fields(beside, names)
            yield from ((whole, t) for t in compare(parameters(holder), fields, listed))


def allowed(generation, whole, text):
    """The exception that a difference is, or None."""
    keys = [whole]
    if whole.startswith("flax.errors."):
        keys.append("flax.errors")
    if generation == "0.6":
        keys.append(f"{whole} of 0.6")
    return next(((k, text) for k in keys if text in EXCEPTIONS.get(k, ())), None)


@pytest.fixture(params=["0.6", "0.12"])
def generation(request):
    batiste.flax.install(request.param)
    yield request.param
    batiste.flax.uninstall()


MODULES = sorted({m for g in ("0.6", "0.12") for m, _ in index(g)})


@pytest.mark.parametrize("module", MODULES)
def test_signatures(generation, module):
    found = [
        (whole, text)
        for whole, text in differences(generation, module)
        if not allowed(generation, whole, text)
    ]
    assert not found


def test_exceptions_are_all_there():
    used = set()
    for generation in ("0.6", "0.12"):
        batiste.flax.install(generation)
        try:
            for module in MODULES:
                for whole, text in differences(generation, module):
                    used.add(allowed(generation, whole, text))
        finally:
            batiste.flax.uninstall()
    listed = {(key, text) for key, texts in EXCEPTIONS.items() for text in texts}
    assert listed <= used
