"""Tests of batiste.linen.partitioning.variables."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import batiste.linen as nn
from batiste.linen import partitioning

KEY = jax.random.key(0)
X = jnp.ones((3, 2))


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
        init = nn.initializers.normal()
        w = partitioning.param_with_axes("w", init, (2, 2), axes=("in", "out"))
        bare = partitioning.param_with_axes("bare", init, (2,))
        mean = partitioning.variable_with_axes(
            "state", "mean", jnp.zeros, (2,), axes=("out",)
        )
        y = x @ w + bare
        if mean.is_mutable():
            mean.value = mean.value + y.sum()
        return y, mean.value


def names(tree):
    return {name: axes.names for name, axes in tree.items()}


def test_names_are_stored():
    variables = Layer().init(KEY, X)
    assert names(variables["params_axes"]) == {"w_axes": ("in", "out")}
    assert names(variables["state_axes"]) == {"mean_axes": ("out",)}
    found = partitioning.get_axis_names({"layer": variables["params_axes"]})
    assert tuple(found["layer"]["w"]) == ("in", "out")
    # They are not needed afterwards, nor made again.
    variables = {k: v for k, v in variables.items() if not k.endswith("_axes")}
    _, state = Layer().apply(variables, X, mutable=["state"])
    assert list(state) == ["state"]


def test_no_module():
    with pytest.raises(ValueError, match="No module is running"):
        partitioning.param_with_axes("w", jnp.ones, axes=("a",))
    with pytest.raises(ValueError, match="No module is running"):
        partitioning.variable_with_axes("state", "w", jnp.ones, axes=("a",))


def test_a_module_by_name():
    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            inner = Inner()
            return inner(x, self)

    class Inner(nn.Module):
        @nn.compact
        def __call__(self, x, outer):
            return partitioning.param_with_axes(
                "w", nn.initializers.ones, (2,), axes=("a",), module=outer
            )

    variables = Outer().init(KEY, X)
    assert list(variables["params"]) == ["w"]


def test_constraints():
    mesh = Mesh(np.array(jax.devices()[:1]), ("x",))
    variables = Layer().init(KEY, X)
    with mesh, nn.logical_axis_rules((("in", "x"), ("out", None))):
        text = jax.jit(Layer().apply).lower(variables, X).as_text()
        assert "sharding" in text
        y, _ = jax.jit(Layer().apply)(variables, X)
    np.testing.assert_allclose(y, Layer().apply(variables, X)[0], rtol=1e-6)


def test_partitioned_variable():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.variable("state", "v", lambda: x)
            assert self.scope is not None
            handle = partitioning.PartitionedVariable(
                self.scope, "state", "v", ("a", None)
            )
            handle.value += 1
            return handle.value

    y, variables = Net().init_with_output(KEY, X)
    np.testing.assert_array_equal(y, X + 1)
    np.testing.assert_array_equal(variables["state"]["v"], X + 1)


def test_errors_have_the_path_of_the_variable():
    class Outer(nn.Module):
        axes: tuple
        state_axes: tuple = ("out",)

        @nn.compact
        def __call__(self, x):
            return Inner(self.axes, self.state_axes, name="inner")(x)

    class Inner(nn.Module):
        axes: tuple
        state_axes: tuple

        @nn.compact
        def __call__(self, x):
            w = partitioning.param_with_axes(
                "w", lambda key: jnp.ones((2, 2)), axes=self.axes
            )
            mean = partitioning.variable_with_axes(
                *("state", "mean", jnp.zeros, (2,)),
                axes=self.state_axes,
                fallback=partitioning.RulesFallback.RAISE_ERROR,
            )
            return x * w + mean.value

    def run(rules, *fields):
        mesh = Mesh(np.array(jax.devices()[:1]), ("x",))
        variables = {"params": {"inner": {"w": jnp.ones((2, 2))}}}
        variables["state"] = {"inner": {"mean": jnp.zeros(2)}}
        with mesh, nn.logical_axis_rules(rules):
            jax.jit(Outer(*fields).apply)(variables, jnp.ones((2, 2)))

    rules = (("in", "x"), ("out", None))
    run(rules, ("in", "out"))
    for fields, problem, path in (
        ((("in", "out", "more"),), "3 axis names", "params/inner/w"),
        ((("in",), ("in", "out")), "2 axis names", "state/inner/mean"),
        ((("in",), ("uot",)), "Nearest names: 'out'", "state/inner/mean"),
    ):
        with pytest.raises(ValueError, match=problem) as info:
            run(rules, *fields)
        assert str(info.value).startswith(f'In "{path}": ')
    with pytest.raises(ValueError, match="axes of the mesh: 'x'") as info:
        run((("in", "y"), ("out", None)), ("in",))
    assert str(info.value).startswith('In "params/inner/w": ')


TREES = [
    (lambda: jnp.ones((3,)), "embed", P("embed")),
    (lambda: jnp.ones((3,)), ("embed",), P("embed")),
    (lambda: jnp.ones((3,)), P("embed"), P("embed")),
    (
        lambda: {"a": jnp.ones((2, 3)), "b": {"c": jnp.ones((3,))}},
        {"a": ("x", None), "b": {"c": "embed"}},
        {"a": P("x", None), "b": {"c": P("embed")}},
    ),
    (
        lambda: (jnp.ones((3,)), [jnp.ones((2, 3))]),
        (("x",), [("x", "y")]),
        (P("x"), [P("x", "y")]),
    ),
    (
        lambda: {"a": jnp.ones((3,)), "b": jnp.ones((3,))},
        {"a": ("x",), "b": None},
        {"a": P("x"), "b": None},
    ),
]


@pytest.mark.parametrize(("init", "axes", "specs"), TREES)
@pytest.mark.parametrize("kind", ["param", "variable"])
def test_trees_of_arrays_have_trees_of_names(kind, init, axes, specs):
    class Holder(nn.Module):
        @nn.compact
        def __call__(self, x):
            if kind == "param":
                return partitioning.param_with_axes("w", lambda key: init(), axes=axes)
            w = partitioning.variable_with_axes("state", "w", init, axes=axes)
            w.value = jax.tree.map(lambda v: v + 1, w.value)
            return w.value

    collection = "params_axes" if kind == "param" else "state_axes"
    with (
        Mesh(np.array(jax.devices()[:1]), ("data",)),
        nn.logical_axis_rules([("x", "data"), ("embed", "data")]),
    ):
        y, variables = Holder().init_with_output(KEY, X)
    assert jax.tree.structure(y) == jax.tree.structure(init())
    assert variables[collection]["w_axes"] == partitioning.AxisMetadata(names=axes)
    assert partitioning.get_axis_names(variables[collection])["w"] == specs


def test_trees_of_names_have_the_axes_of_loops():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            init = lambda key: {"a": jnp.ones((2, 3)), "b": jnp.ones(3)}  # noqa: E731
            axes = {"a": ("in", "out"), "b": "out"}
            w = partitioning.param_with_axes("w", init, axes=axes)
            return x @ w["a"] @ w["a"].T + w["b"].sum(), None

    loop = partitioning.scan_with_axes(
        Layer,
        variable_axes={"params": 1},
        split_rngs={"params": True},
        length=4,
        axis_name="layers",
        axes_collections=("params",),
    )
    variables = loop().init(KEY, X, None)
    assert variables["params_axes"]["w_axes"].names == {
        "a": ("in", "layers", "out"),
        "b": ("out", "layers"),
    }
    names = partitioning.variables.map_names(len, {"a": ("x", None), "b": "mlp"})
    assert names == {"a": 2, "b": 1}
