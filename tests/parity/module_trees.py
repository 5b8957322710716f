"""Generated models, for either library: trees of modules of many kinds.

A model is described by nested tuples, which `nodes` generates, and built by `model` out
of the modules of a library. All arrays are vectors of three numbers, so that next to
nothing is compiled, and thousands of models can be compared.
"""

from __future__ import annotations

import types
from typing import Any

import jax
from hypothesis import strategies as st
from jax import numpy as jnp

X = jnp.array([0.5, -1.25, 2.0])
normal = jax.nn.initializers.normal(1.0)

names = st.sampled_from([None, None, None, "a", "b", "Affine_0", "layer"])
streams = st.sampled_from(["params", "noise", "other"])
collections = st.sampled_from(["state", "other"])

leaves = st.one_of(
    st.tuples(st.just("affine"), names, st.booleans()),
    st.tuples(st.just("noise"), names, streams, st.integers(1, 2)),
    st.tuples(st.just("count"), names, collections),
    st.tuples(st.just("sow"), names, collections, st.booleans()),
    st.tuples(st.just("perturb"), names),
)


def _no_default(node: Any) -> bool:
    return "class with a default" not in str(node)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.tuples(st.just("compact"), names, several),
        st.tuples(st.just("setup"), names, several),
        st.tuples(st.just("list"), names, several),
        st.tuples(st.just("dict"), names, several),
        st.tuples(st.just("nested"), names, several),
        st.tuples(st.just("shared"), names, inner, st.integers(1, 3)),
        st.tuples(st.just("attribute"), names, inner),
        st.tuples(st.just("outer attribute"), names, inner),
        st.tuples(st.just("borrowed"), names, inner),
        st.tuples(st.just("own scope"), names, inner),
        st.tuples(st.just("sequential"), names, several),
        st.tuples(st.just("class with a default"), names, inner.filter(_no_default)),
        st.tuples(st.just("cloned"), names, inner),
        st.tuples(st.just("remat"), names, leaves),
        st.tuples(st.just("named method"), names, inner),
    )


nodes = st.recursive(leaves, _containers, max_leaves=6)


def classes(nn: Any) -> Any:
    """The modules of the models, made with one library."""

    class Affine(nn.Module):
        bias: bool = True

        @nn.compact
        def __call__(self, x):
            x = x * self.param("kernel", normal, (3,))
            return x + self.param("bias", normal, (3,)) if self.bias else x

    class Noise(nn.Module):
        stream: str
        draws: int = 1

        def __call__(self, x):
            for _ in range(self.draws):
                x = x + jax.random.normal(self.make_rng(self.stream), (3,))
            return x

    class Count(nn.Module):
        collection: str

        @nn.compact
        def __call__(self, x):
            known = self.has_variable(self.collection, "count")
            count = self.variable(self.collection, "count", lambda: jnp.zeros((3,)))
            if known and self.is_mutable_collection(self.collection):
                count.value = count.value + x
            return x - count.value

    class Sow(nn.Module):
        collection: str
        reduced: bool

        @nn.compact
        def __call__(self, x):
            if self.reduced:
                more = dict(reduce_fn=lambda a, b: a + b, init_fn=lambda: jnp.zeros(3))
                self.sow(self.collection, "seen", x, **more)
            else:
                self.sow("intermediates", "seen", x)
            return x + 1

    class Perturb(nn.Module):
        @nn.compact
        def __call__(self, x):
            return self.perturb("p", x) * 2

    class Compact(nn.Module):
        parts: Any

        @nn.compact
        def __call__(self, x):
            for part in self.parts:
                x = build(part)(x)
            return x

    class Setup(nn.Module):
        parts: Any

        def setup(self):
            self.first = build(self.parts[0], None)
            for i, part in enumerate(self.parts[1:]):
                setattr(self, f"part{i}", build(part, None))

        def __call__(self, x):
            for i in reversed(range(len(self.parts) - 1)):
                x = getattr(self, f"part{i}")(x)
            return self.first(x)

    class List(nn.Module):
        parts: Any

        def setup(self):
            self.layers = [build(part, None) for part in self.parts]

        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    class Dict(nn.Module):
        parts: Any

        def setup(self):
            self.of = {f"k{i}": build(p, None) for i, p in enumerate(self.parts)}

        def __call__(self, x):
            for layer in self.of.values():
                x = layer(x)
            return x

    class Nested(nn.Module):
        parts: Any

        def setup(self):
            made = [build(part, None) for part in self.parts]
            self.tree = {"first": made[0], "rest": (made[1:], 3)}

        def __call__(self, x):
            for layer in (*self.tree["rest"][0], self.tree["first"]):
                x = layer(x)
            return x

    class Shared(nn.Module):
        part: Any
        times: int

        @nn.compact
        def __call__(self, x):
            layer = build(self.part)
            for _ in range(self.times):
                x = layer(x)
            return x

    class Holder(nn.Module):
        layer: Any

        @nn.compact
        def __call__(self, x):
            return Affine()(self.layer(x))

    class OuterHolder(nn.Module):
        part: Any

        @nn.compact
        def __call__(self, x):
            return Holder(build(self.part))(x)

    class Borrower(nn.Module):
        part: Any

        def setup(self):
            self.layer = build(self.part, None)
            self.holder = Holder(self.layer)

        def __call__(self, x):
            return self.holder(x) + self.layer(x)

    class OwnScope(nn.Module):
        part: Any

        def setup(self):
            self.borrowed = build(self.part, None)
            nn.share_scope(self, self.borrowed)

        def __call__(self, x):
            return self.borrowed(x)

    class NamedMethod(nn.Module):
        part: Any

        @nn.compact
        def __call__(self, x):
            return self.up(Affine()(x))

        @nn.compact_name_scope
        def up(self, x):
            return build(self.part)(x)

    class Default(nn.Module):
        part: Any
        layer: Any = Affine(bias=False)

        @nn.compact
        def __call__(self, x):
            return self.layer(build(self.part)(x))

    class Cloned(nn.Module):
        part: Any

        @nn.compact
        def __call__(self, x):
            layer = build(self.part)
            return layer.clone(parent=self, name="other")(layer(x))

    def build(node: Any, *name: Any) -> Any:
        kind, own, *rest = node
        named = {"name": own} if own and not name else {}
        if kind in ("attribute", "sequential"):
            # The inner modules are made by whoever makes the outer one.
            if kind == "attribute":
                return Holder(build(rest[0]), **named)
            return nn.Sequential([build(part) for part in rest[0]], **named)
        if kind == "remat":
            return nn.remat(kinds[rest[0][0]])(*rest[0][2:], **named)
        return kinds[kind](*rest, **named)

    kinds = {
        "affine": Affine,
        "noise": Noise,
        "count": Count,
        "sow": Sow,
        "perturb": Perturb,
        "compact": Compact,
        "setup": Setup,
        "list": List,
        "dict": Dict,
        "nested": Nested,
        "shared": Shared,
        "outer attribute": OuterHolder,
        "borrowed": Borrower,
        "own scope": OwnScope,
        "named method": NamedMethod,
        "class with a default": Default,
        "cloned": Cloned,
    }
    return types.SimpleNamespace(build=build, nn=nn, **kinds)
