"""Generated trees of modules against the released flax: same names, keys, values."""

from typing import Any

import jax
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import numpy as jnp

from .module_programs import KEY, X, ours, plain, theirs

# A plan is how a module comes to hold others: its style, and plans of those. A number
# stands for a layer; equal numbers below 3 are one and the same object.
STYLES = ("compact", "list", "dict", "nested", "attribute", "named", "twice")
plans = st.recursive(
    st.integers(0, 5),
    lambda inner: st.tuples(
        st.sampled_from(STYLES), st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


def builder(l: Any) -> Any:
    """A function that makes the module of a plan with the library `l`."""
    nn = l.nn

    class Layer(nn.Module):
        size: int

        @nn.compact
        def __call__(self, x):
            init = jax.nn.initializers.normal()
            calls = self.variable("state", "calls", lambda: jnp.zeros((), int))
            if self.is_mutable_collection("state"):
                calls.value += 1
            x = x + self.param("bias", init, (x.shape[-1],))
            if self.size % 2:
                x = x * jax.random.normal(self.make_rng("noise"), x.shape)
            self.sow("intermediates", "x", x)
            return x

    def in_turn(modules, x):
        for module in modules:
            x = module(x)
        return x

    class Fields(nn.Module):
        parts: Any

        @nn.compact
        def __call__(self, x):
            return in_turn(jax.tree.leaves(self.parts, is_leaf=is_module), x)

    class Setup(nn.Module):
        style: str
        plan: Any

        def setup(self):
            made = [make(plan) for plan in self.plan]
            if self.style == "list":
                self.parts = made
            elif self.style == "dict":
                self.parts = {f"k{i}": part for i, part in enumerate(made)}
            else:
                self.parts = [{"a": (made[0],)}, made[1:]]

        def __call__(self, x):
            return in_turn(jax.tree.leaves(self.parts, is_leaf=is_module), x)

    class Compact(nn.Module):
        style: str
        plan: Any

        @nn.compact
        def __call__(self, x):
            for i, plan in enumerate(self.plan):
                part = make(plan, name=f"part{i}" if self.style == "named" else None)
                x = part(x)
                if self.style == "twice":
                    x = part(x)
            return x

    def is_module(value):
        return isinstance(value, nn.Module)

    shared = {number: Layer(number) for number in range(3)}

    def make(plan, **name):
        if isinstance(plan, int):
            return Layer(plan, **name)
        style, parts = plan
        if style in ("list", "dict", "nested"):
            return Setup(style, parts, **name)
        if style == "attribute":
            held = [
                shared[part] if isinstance(part, int) and part in shared else make(part)
                for part in parts
            ]
            return Fields(held, **name)
        return Compact(style, parts, **name)

    return make


def results(l: Any, plan: Any) -> Any:
    model = builder(l)(plan)
    rngs = {"params": KEY, "noise": jax.random.key(5)}
    y, variables = model.init_with_output(rngs, X)
    noise = {"noise": rngs["noise"]}
    return plain(
        [
            y,
            variables,
            model.apply(variables, X, rngs=noise),
            model.apply(variables, X, rngs=noise, mutable=["state", "intermediates"]),
            model.apply(variables, X, rngs=noise, capture_intermediates=True)[1],
            model.bind(variables, rngs=noise)(X),
            repr(model).replace("flax.", ""),
        ]
    )


@settings(max_examples=60, deadline=None)
@given(plans)
def test_generated_trees(plan):
    assert results(ours, plan) == results(theirs, plan)
