"""What a function that is traced beforehand makes in scopes that it closes over."""

import jax
import jax.core
import pytest
from jax import numpy as jnp

from batiste.core import Scope, apply, errors, init, lift
from batiste.core.config import config
from batiste.core.lift.closures import ClosedOver

KEY = jax.random.key(0)
NORMAL = jax.nn.initializers.normal()


def test_only_what_is_new_and_traced_is_found():
    scope = Scope({"params": {"old": jnp.ones(1)}}, mutable=True)
    closed_over = ClosedOver([scope, scope.push("child")])

    def traced(x):
        scope.put_variable("params", "known", jnp.ones(2))
        scope.put_variable("params", "deep", {"unknown": x})
        scope.put_variable("params", "number", 3)
        return closed_over.made()

    with config.temp_flip_flag("documented_checks", False):
        _, made = jax.make_jaxpr(traced, return_shape=True)(jnp.ones(3))
    assert [shape.shape for shape in made] == [(2,), (3,)]
    closed_over.put([jnp.zeros(2), jax.ShapeDtypeStruct((3,), jnp.float32)])
    params = scope.variables()["params"]
    assert params["known"].tolist() == [0, 0]
    assert isinstance(params["deep"]["unknown"], jax.core.Tracer)


def test_what_a_scan_makes_by_closure_has_a_value():
    def model(scope, x):
        child = scope.push("child")

        def body(inner, carry, _):
            return carry * child.param("w", NORMAL, (2,)), None

        loop = lift.scan(body, split_rngs={"params": False}, length=1)
        return loop(scope.push("other"), x, None)[0]

    with (
        config.temp_flip_flag("documented_checks", False),
        # The body runs twice.
        pytest.raises(ValueError, match="Duplicate use"),
    ):
        init(model)(KEY, jnp.ones(2))

    def reads(scope, x):
        child = scope.push("child")

        def body(inner, carry, _):
            if not child.has_variable("params", "w"):
                child.put_variable("params", "w", jnp.full(2, 3.0))
            return carry * child.get_variable("params", "w"), None

        loop = lift.scan(body, split_rngs={"params": False}, length=2)
        return loop(scope.push("other"), x, None)[0]

    with config.temp_flip_flag("documented_checks", False):
        y, variables = init(reads)(KEY, jnp.ones(2))
    assert y.tolist() == [9, 9]
    assert variables["params"]["child"]["w"].tolist() == [3, 3]


TRANSFORMS = {
    "map_variables": lambda fn: lift.map_variables(fn, "params"),
    "map_variables init": lambda fn: lift.map_variables(fn, "params", init=True),
    "swap_collection": lambda fn: lift.swap_collection(fn, "a", "b"),
    "add_metadata_axis": lambda fn: lift.add_metadata_axis(fn, {"params": 0}),
    "fold_rngs": lift.fold_rngs,
    "jit": lift.jit,
    "checkpoint": lift.checkpoint,
    "custom_vjp": lambda fn: lift.custom_vjp(
        fn, lambda *args: lift.vjp(fn, *args), lambda back, g: back(g)
    ),
    "custom_jvp": lambda fn: lift.custom_jvp(fn, lambda *args: None),
}
USES = {
    "param": lambda scope: scope.param("w", NORMAL, (2,)),
    "variable": lambda scope: scope.variable("params", "w", jnp.ones, (2,)).value,
    "key": lambda scope: jax.random.normal(scope.make_rng("params")),
    "child": lambda scope: scope.push("below") and 1.0,
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_an_outer_scope_is_not_to_be_used_inside(transform, use):
    def model(scope):
        child, other = scope.push("child"), scope.push("other")
        fn = TRANSFORMS[transform](lambda inner: USES[use](child) * 1.0)
        with pytest.raises(errors.JaxTransformError, match="uses `child` of the encl"):
            fn(other)
        # It has ended, and the scope goes on.
        return USES[use](child)

    init(model)(KEY)
    if use != "child":
        variables = {"params": {"child": {"w": jnp.ones(2)}}}
        apply(model)(variables, rngs=KEY)


def test_functions_around_it_may_use_outer_scopes():
    def model(scope):
        def double(variables):
            factor = scope.variable("state", "factor", lambda: 2.0).value
            return jax.tree.map(lambda x: factor * x, variables)

        fn = lift.map_variables(
            lambda inner: inner.param("w", NORMAL, ()), "params", double
        )
        return fn(scope.push("child"))

    variables = {"params": {"child": {"w": 3.0}}, "state": {"factor": 2.0}}
    assert apply(model)(variables) == 6
