"""Tests of batiste.core.lift.pack."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import DenyList, apply, bind, errors, init, lift, nn, struct
from batiste.core.lift.pack import PackFilters, update_groups
from batiste.core.scope import LazyRng

KEY = jax.random.key(0)


def ones(key, shape=()):
    return jnp.ones(shape)


def lift_transpose(fn, target="params", variables=True, rngs=True, out=True):
    def wrapper(scope_fn, repack_fn, variable_groups, rng_groups, *args):
        target, rest = variable_groups
        target = jax.tree.map(lambda x: x.T if x.ndim == 2 else x, target)
        scope = scope_fn((target, rest), rng_groups)
        y = fn(scope, *args)
        return y, repack_fn(scope)

    return lift.pack(
        wrapper,
        in_variable_filters=(target, variables),
        out_variable_filters=(out,),
        rng_filters=(rngs,),
    )


def passing(fn, in_filters=(True,), out_filters=(True,), rng_filters=(True,), **kwargs):
    """Lifts `fn` through no transform at all."""

    def wrapper(scope_fn, repack_fn, variable_groups, rng_groups, *args):
        scope = scope_fn(variable_groups, rng_groups)
        return fn(scope, *args), repack_fn(scope)

    return lift.pack(wrapper, in_filters, out_filters, rng_filters, **kwargs)


def test_the_transform_of_the_design_note():
    x = jnp.ones((3, 2))
    y, variables = init(lift_transpose(nn.dense))(KEY, x, 4)
    assert y.shape == (3, 4)
    assert variables["params"]["kernel"].shape == (2, 4)
    kernel = jnp.arange(8.0).reshape(4, 2)
    params = {"kernel": kernel, "bias": jnp.zeros(4)}
    y = apply(lift_transpose(nn.dense))({"params": params}, x, 4)
    np.testing.assert_array_equal(y, x @ kernel.T)


def test_a_tied_auto_encoder():
    def auto_encoder(scope, x):
        encoder = scope.push("encoder")
        h = nn.dense(encoder, x, 2, bias=False)
        decode = lift_transpose(nn.dense, out=False)
        return decode(encoder.rewound(), h, x.shape[-1], bias=False)

    def with_kwargs(scope, x):
        encoder = scope.push("encoder")
        h = nn.dense(encoder, x, 2, bias=False)

        def decode(scope, h):
            return nn.dense(scope, h, x.shape[-1], bias=False)

        return lift_transpose(decode, out=False)(encoder.rewound(), h)

    x = jnp.ones((1, 5))
    y, variables = init(with_kwargs)(KEY, x)
    kernel = variables["params"]["encoder"]["kernel"]
    np.testing.assert_allclose(y, x @ kernel @ kernel.T, rtol=1e-6)
    with pytest.raises(TypeError, match=r"takes no keyword arguments.*'bias'"):
        init(auto_encoder)(KEY, x)


def test_enable_kwargs():
    def wrapper(scope_fn, repack_fn, variable_groups, rng_groups, *args, **kwargs):
        return (args, kwargs), ()

    lifted = lift.pack(wrapper, (), (), (), enable_kwargs=True)
    assert lifted(bind({}), 1, a=2) == ((1,), {"a": 2})


def test_groups_of_variables_and_streams():
    seen = []

    def wrapper(scope_fn, repack_fn, variable_groups, rng_groups):
        seen.extend([variable_groups, rng_groups])
        scope = scope_fn(variable_groups, rng_groups)
        assert sorted(scope.rngs) == ["dropout", "params"]
        scope.put_variable("state", "new", 3)
        seen.append(repack_fn(scope))
        return None, seen[-1]

    lifted = lift.pack(
        wrapper, ("params", DenyList("cache")), (["state"], True), ("dropout", True)
    )
    variables = {"params": {"w": 1}, "state": {"n": 2}, "cache": {"c": 0}}
    rngs = {"params": KEY, "dropout": KEY}
    _, new = apply(lifted, mutable=["state"])(variables, rngs=rngs)
    assert seen[0] == (({"params": {"w": 1}},), ({"state": {"n": 2}},))
    assert [list(group[0]) for group in seen[1]] == [["dropout"], ["params"]]
    assert isinstance(seen[1][0][0]["dropout"], LazyRng)
    assert seen[2] == (({"state": {"n": 2, "new": 3}},), ({},))
    assert new == {"state": {"n": 2, "new": 3}}


def test_what_is_not_lifted_is_not_there():
    def read(scope):
        return scope.get_variable("params", "w"), scope.has_rng("params")

    variables = {"params": {"w": 1}}
    lifted = passing(read, in_filters=("state",), rng_filters=("dropout",))
    assert apply(lifted)(variables, rngs=KEY) == (None, False)
    with pytest.raises(errors.ScopeCollectionNotFound, match=r'Scope "/".*"params"'):
        apply(passing(lambda s: s.param("w", ones), ("state",)))(variables)
    with pytest.raises(errors.InvalidRngError, match=r'"/layer".*"noise"'):
        lifted = passing(lambda s: s.make_rng("noise"), rng_filters=())
        apply(lambda s: lifted(s.push("layer")))(variables, rngs={"noise": KEY})


def test_what_is_not_lifted_out_is_immutable():
    def write(scope):
        scope.put_variable("state", "n", 1)

    lifted = passing(write, out_filters=("params",), name="my_lift")
    message = r'Cannot write variable "n" of scope "/a/my_lift\(b\)"'
    with pytest.raises(errors.ModifyScopeVariableError, match=message):
        apply(lambda s: lifted(s.push("a").push("b")), mutable=True)({})


def test_changes_come_out_and_reach_scopes_that_are_open():
    def model(scope):
        child = scope.push("child")
        child.put_variable("state", "n", 1)
        grandchild = child.push("grandchild")
        grandchild.put_variable("state", "m", 1)

        def body(scope):
            scope.push("grandchild").put_variable("state", "m", 2)
            scope.put_variable("state", "n", 5)

        passing(body)(child)
        return child.get_variable("state", "n"), grandchild.get_variable("state", "m")

    y, state = apply(model, mutable="state")({})
    assert y == (5, 2)
    assert state == {"state": {"child": {"n": 5, "grandchild": {"m": 2}}}}


def test_scopes_are_deduplicated():
    def model(scope):
        parent = scope.push("parent")
        child = parent.push("child")
        other = scope.push("other")

        def wrapper(scope_fn, repack_fn, variable_groups, rng_groups):
            assert len(variable_groups[0]) == len(rng_groups[0]) == 2
            scopes = scope_fn(variable_groups, rng_groups)
            assert scopes["pair"][0].parent == scopes["parent"]
            assert scopes["again"] == scopes["parent"]
            assert [s.path for s in scopes["pair"]] == [c.path for c in (child, other)]
            for i, s in enumerate(jax.tree.leaves(scopes)):
                s.put_variable("state", f"v{i}", i)
            return scopes["pair"][0].make_rng(), repack_fn(scopes)

        lifted = lift.pack(wrapper, (True,), (True,), (True,))
        tree = {"pair": (child, other), "parent": parent, "again": parent}
        return lifted(tree), child.rewound(rewind_rngs=True).make_rng()

    (a, b), state = apply(model, mutable=True)({}, rngs=KEY)
    assert a == b
    assert state["state"] == {
        "parent": {"v0": 0, "v3": 3, "child": {"v1": 1}},
        "other": {"v2": 2},
    }


def test_scopes_in_pytree_dataclasses():
    @struct.dataclass
    class Layer:
        scope: object
        features: int = struct.field(pytree_node=False)

        def __call__(self, x):
            return nn.dense(self.scope, x, self.features)

    def model(scope, x):
        layers = [Layer(scope.push(f"layer{i}"), 3) for i in range(2)]

        def run(layers, x):
            return layers[1](layers[0](x))

        return lift.vmap(run, {"params": None}, {"params": False})(layers, x)

    y, variables = init(model)(KEY, jnp.ones((4, 3)))
    assert y.shape == (4, 3)
    assert sorted(variables["params"]) == ["layer0", "layer1"]


def test_inner_scopes_end_with_the_call():
    kept = []
    apply(passing(kept.append))({})
    with pytest.raises(errors.InvalidScopeError, match='Scope "/" is closed'):
        kept[0].push("a")


@pytest.mark.parametrize("argument", [jnp.ones(3), {"a": 1}, "scope"])
def test_arguments_that_are_no_scopes(argument):
    with pytest.raises(TypeError, match=r"lifted demo must be a scope or a pytree"):
        passing(print, name="demo")(argument)


def test_no_scope_at_all():
    with pytest.raises(TypeError, match="at least one scope"):
        passing(print)(())


def test_filters_are_checked_when_lifting():
    for filters in [{"in_filters": (3,)}, {"out_filters": (3,)}, {"rng_filters": (3,)}]:
        with pytest.raises(errors.InvalidFilterError, match="3 .* is no filter"):
            passing(print, **filters)


def test_an_ended_scope():
    with bind({}).temporary() as scope:
        pass
    with pytest.raises(errors.InvalidScopeError):
        passing(print)(scope)


def test_a_scope_from_outside_of_a_transform():
    def model(scope):
        child = scope.push("child")
        use = {
            "param": lambda: child.param("w", ones),
            "push": lambda: child.push("x"),
            "make_rng": child.make_rng,
            "put": lambda: child.put_variable("state", "x", 1),
            "lift": lambda: passing(lambda s: s)(child),
        }

        def body(_, x):
            for fn in use.values():
                with pytest.raises(errors.JaxTransformError, match='scope "/child"'):
                    fn()
            return x

        lift.vmap(body, {}, {})(scope, jnp.ones(2))
        lift.scan(lambda s, c, x: (c, body(s, x)))(scope, 0, jnp.ones(2))
        lift.checkpoint(body)(scope, 1.0)
        lift.jit(body)(scope, 1.0)
        lift.vjp(body, scope, 1.0)
        lift.jvp(body, scope, (1.0,), (1.0,), {})
        lift.cond(True, body, body, scope, 1.0)
        lift.while_loop(lambda s, x: x < 1, body, scope, 1.0)
        return child.variables()

    y, _ = init(model)(KEY)
    assert y == {}


def test_an_error_inside_leaves_the_scope_unchanged():
    def model(scope, transform):
        scope.put_variable("state", "n", 1)

        def body(scope, x):
            if scope.is_mutable_collection("state"):
                scope.put_variable("state", "n", 2)
            scope.push("child").param("w", ones)
            scope.make_rng("dropout")
            raise KeyError("inside")

        with pytest.raises(KeyError):
            transform(body, scope)
        key = scope.make_rng("dropout")
        return key, scope.variables()

    rngs = {"params": KEY, "dropout": KEY}
    expected = apply(lambda s: s.make_rng("dropout"))({}, rngs=rngs)
    for transform in [
        lambda fn, s: lift.vmap(fn, {"params": 0}, {True: True})(s, jnp.ones(2)),
        lambda fn, s: lift.scan(
            lambda s, c, x: (c, fn(s, x)), {"params": 0}, split_rngs={True: True}
        )(s, 0, jnp.ones(2)),
        lambda fn, s: lift.jit(fn)(s, 1.0),
        lambda fn, s: lift.checkpoint(fn)(s, 1.0),
        lambda fn, s: lift.vjp(fn, s, 1.0),
        lambda fn, s: lift.cond(True, fn, fn, s, 1.0),
        lambda fn, s: lift.while_loop(
            lambda s, c: True, fn, s, 0, True, split_rngs={True: True}
        ),
        lambda fn, s: lift.map_variables(fn, "params", mutable=True)(s, 1.0),
        lambda fn, s: lift.fold_rngs(fn)(s, 1.0),
    ]:
        (key, variables), _ = init(model)(rngs, transform)
        assert key == expected
        assert variables == {"state": {"n": 1}}


def test_a_parameter_read_through_a_closure_is_told():
    def model(scope, x):
        scope.param("w", jax.nn.initializers.ones, ())
        layer = scope.push("layer")
        layer.param("v", jax.nn.initializers.ones, ())

        def closes_over(inner, x):
            rewound = layer.rewound()
            return x * rewound.param("v", jax.nn.initializers.ones, ())

        return lift.jit(closes_over)(scope, x)

    variables = {"params": {"w": jnp.ones(()), "layer": {"v": jnp.ones(())}}}
    with pytest.raises(errors.JaxTransformError, match="/layer"):
        apply(model)(variables, 1.0)
    # A transform that is none of JAX's may be closed over.
    assert apply(lambda s: lift.fold_rngs(lambda _: s.param("w", jnp.ones))(s))


def test_groups_take_over_what_is_new():
    old = ({"params": 1, "state": 2}, {})
    assert update_groups(old, ({"state": 3}, {"new": 4})) == (
        {"params": 1, "state": 3},
        {"new": 4},
    )


def test_filters_are_remembered_only_where_they_cannot_change():
    simple = PackFilters.of((True, "a"), [("b", "c")], ())
    assert simple is PackFilters.of((True, "a"), [("b", "c")], ())
    names = ["a"]
    before = PackFilters.of([names], [], [])
    names.append("b")
    after = PackFilters.of([names], [], [])
    assert "b" not in before.ins[0]
    assert "b" in after.ins[0]
    assert PackFilters.of([], [True], []) != PackFilters.of([], [False], [])
    with pytest.raises(errors.InvalidFilterError):
        PackFilters.of([3], [], [])
