"""Generated models against the released flax: the same trees of variables and results.

Both libraries must give the same variables, outputs and changed collections, bit for
bit, or refuse the model with the same type of error.
"""

from typing import Any

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from . import module_trees
from .module_programs import ours, outcome, theirs
from .module_trees import X, nodes

OURS, THEIRS = (module_trees.classes(library.nn) for library in (ours, theirs))
KEYS = {
    "raw": {"params": jax.random.PRNGKey(1), "noise": jax.random.PRNGKey(2)},
    "typed": {"params": jax.random.key(1), "noise": jax.random.key(2)},
    "one": jax.random.PRNGKey(3),
}
kinds_of_keys = st.sampled_from(sorted(KEYS))
filters = st.sampled_from(
    [False, True, "state", ["state", "intermediates"], {"other"}, []]
)


def compare(run: Any) -> None:
    assert outcome(run, OURS) == outcome(run, THEIRS)


@settings(max_examples=400, deadline=None)
@given(nodes, kinds_of_keys, filters, filters)
def test_init_and_apply(node, keys, init_filter, mutable):
    def run(l):
        model = l.build(node)
        rngs = KEYS[keys]
        variables = model.init(rngs, X, mutable=init_filter or True)
        again = model.apply(variables, X, rngs=rngs, mutable=mutable)
        return [variables, list(variables), again]

    compare(run)


@settings(max_examples=150, deadline=None)
@given(nodes, st.sampled_from([True, False, "all", "Affine"]))
def test_intermediates(node, capture):
    def run(l):
        model = l.build(node)
        variables = model.init(KEYS["raw"], X)
        chosen: Any = capture
        if capture == "all":
            chosen = lambda module, method: True  # noqa: E731
        elif capture == "Affine":
            chosen = lambda module, method: isinstance(module, l.Affine)  # noqa: E731
        return model.apply(
            variables,
            X,
            rngs=KEYS["raw"],
            mutable=["intermediates", "perturbations"],
            capture_intermediates=chosen,
        )

    compare(run)


@settings(max_examples=150, deadline=None)
@given(nodes, st.data())
def test_missing_variables(node, data):
    """One parameter is taken away, or has another shape."""

    def variables_of(l):
        return outcome(lambda l: l.build(node).init(KEYS["raw"], X), l)

    kind, variables = variables_of(THEIRS)
    if kind == "error":
        assert variables_of(OURS) == (kind, variables)
        return
    made = ours.core.unfreeze(OURS.build(node).init(KEYS["raw"], X))
    # Within `remat`, Batiste takes perturbations that are empty for none at all.
    made.pop("perturbations", None)
    paths = jax.tree_util.tree_leaves_with_path(made)
    if not paths:
        return
    path = data.draw(st.sampled_from([path for path, _ in paths]))
    misshapen = data.draw(st.booleans())
    branch = made
    for key in path[:-1]:
        branch = branch[key.key] if hasattr(key, "key") else branch[key.idx]
    if not isinstance(branch, dict):
        return
    if misshapen:
        branch[path[-1].key] = X[:1]
    else:
        del branch[path[-1].key]
    compare(lambda l: l.build(node).apply(made, X, rngs=KEYS["raw"]))


@settings(max_examples=100, deadline=None)
@given(nodes, st.lists(st.sampled_from(["clone", "copy"]), max_size=2))
def test_bound_modules(node, steps):
    def run(l):
        model = l.build(node)
        for step in steps:
            model = model.copy() if step == "copy" else model.clone()
        variables = model.init(KEYS["raw"], X)
        bound = model.bind(variables, rngs=KEYS["raw"])
        unbound, held = bound.unbind()
        return [
            bound(X),
            bound.variables,
            unbound.apply(held, X, rngs=KEYS["raw"]),
            # Copies of theirs have tuples for lists.
            bool(steps) or model == unbound,
        ]

    compare(run)


@settings(max_examples=200, deadline=None)
@given(nodes)
def test_repr_and_paths(node):
    def run(l):
        model = l.build(node)
        text = repr(model)
        seen = []

        def note(call, args, kwargs, context):
            # Theirs also shows the functions within a lifted class.
            if context.method_name in ("__call__", "up"):
                seen.append((context.module.path, context.method_name))
            return call(*args, **kwargs)

        with l.nn.intercept_methods(note):
            variables = model.init(KEYS["raw"], X)
        return [text, seen, variables]

    compare(run)


@settings(max_examples=25, deadline=None)
@given(nodes)
def test_gradients(node):
    def run(l):
        model = l.build(node)
        variables = model.init(KEYS["raw"], X)

        def loss(variables):
            return model.apply(variables, X, rngs=KEYS["raw"]).sum()

        return jax.grad(loss)(variables)

    compare(run)


# Of several collections, theirs orders the columns by hashes.
plain_nodes = nodes.filter(
    lambda node: not any(f"'{kind}'" in str(node) for kind in ("count", "perturb"))
)


@pytest.mark.parametrize("depth", [1, 2, 3])
@settings(max_examples=10, deadline=None)
@given(plain_nodes)
def test_tabulate(depth, node):
    console = {"width": 200, "force_terminal": False}

    def run(l):
        return l.build(node).tabulate(
            KEYS["raw"], X, depth=depth, mutable=["params"], console_kwargs=console
        )

    compare(run)
