"""Running modules: init, apply, bind, copies, and JAX transforms around it."""

import functools
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from .module_programs import KEY, X, case, caught, differs, ones


@case
def init_and_apply(l):
    model = l.Pair()
    y, variables = model.init_with_output(KEY, X)
    _, again = model.apply({}, X, rngs={"params": KEY}, mutable=True)
    return [
        y,
        variables,
        again,
        model.init({"params": KEY}, X),
        model.apply(variables, X),
        model.apply(variables, X, mutable=[]),
        model.apply(variables, X, mutable="params"),
        jax.jit(model.init)(KEY, X),
        jax.jit(model.apply)(variables, X),
    ]


@case
def methods_to_apply(l):
    model = l.Pair()
    variables = model.init(KEY, X)

    return [
        model.apply(variables, X, method=l.Pair.encode),
        model.apply(variables, X, method=model.encode),
        model.apply(variables, X, method="encode"),
        model.apply(variables, X, method=lambda m, x: m.a(x) * 2),
        model.init(KEY, X, method="encode"),
        model.init(KEY, X, method=l.Pair.encode),
        caught(model.apply, variables, X, method="missing"),
        caught(model.apply, variables, X, method=3),
        caught(model.apply, variables, X, method=lambda: 3),
    ]


@case
def method_named_like_a_field(l):
    class A(l.nn.Module):
        layer: Any
        number: int = 3

        @property
        def prop(self):
            return 3

        def __call__(self, x):
            return self.layer(x)

    model = A(l.Linear(2))
    variables = model.init(KEY, X)
    return [
        model.apply(variables, X, method="layer"),
        caught(model.apply, variables, X, method="prop"),
        caught(model.apply, variables, X, method="number"),
    ]


@differs(
    "what `setup` defines can be called by its name, too",
    ("value", [True, True]),
)
def method_named_like_a_submodule(l):
    class A(l.nn.Module):
        def setup(self):
            self.layer = l.Linear(2)

        @property
        def prop(self):
            return self.layer

        def __call__(self, x):
            return self.layer(x)

    variables = A().init(KEY, X)
    y = A().apply(variables, X)
    return [
        bool((A().apply(variables, X, method=name) == y).all())
        for name in ("layer", "prop")
    ]


@case
def method_partial(l):
    model = l.Pair()
    variables = model.init(KEY, X)
    return model.apply(variables, x=X, method=functools.partial(l.Pair.encode))


@case
def no_call_method(l):
    class A(l.nn.Module):
        def other(self, x):
            return x

    return [A().apply({}, X, method="other"), caught(A().apply, {}, X)]


@case
def on_the_class(l):
    return [
        caught(lambda: l.Linear.init(KEY, X)),
        caught(lambda: l.Linear.apply({}, X)),
        caught(lambda: l.Linear.init_with_output(KEY, X)),
        caught(lambda: l.Linear.bind({}, X)),
    ]


@case
def bad_variables(l):
    model = l.Linear(2)
    variables = model.init(KEY, X)
    params = variables["params"]
    return [
        caught(model.apply, params, X),
        caught(model.apply, {"params": variables}, X),
        caught(model.apply, {"params": 3}, X),
        caught(model.apply, {}, X),
        caught(model.apply, {"params": {}}, X),
        caught(model.apply, {"params": {"other": X}}, X),
        caught(model.apply, {"params": {"kernel": jnp.ones((3, 3))}}, X),
        caught(model.apply, {"params": {"kernel": jnp.ones(3)}}, X),
        caught(model.apply, {"params": {"kernel": np.ones((3, 2), "float16")}}, X),
        caught(model.apply, {"params": {"kernel": jnp.ones((3, 2)), "other": 1}}, X),
    ]


@differs(
    "variables that are no mapping get the documented error, not an accidental one",
    ("value", ["ApplyScopeInvalidVariablesTypeError"] * 3),
)
def variables_of_other_types(l):
    model = l.Linear(2)
    return [
        caught(model.apply, [1], X),
        caught(model.apply, None, X),
        caught(model.bind, [1]),
    ]


@case
def bad_rngs(l):
    model = l.Linear(2)
    return [
        caught(model.init, 3, X),
        caught(model.init, {"dropout": KEY}, X),
        caught(model.init, "text", X),
        caught(model.init, jax.random.PRNGKey(0), X),
        caught(model.apply, {}, X, rngs=3),
        caught(model.apply, {}, X, rngs=KEY, mutable=True),
        caught(model.init, jax.random.split(KEY), X),
        caught(model.init, jnp.ones(2), X),
    ]


@differs(
    "a dict of what are no keys is refused with the error that one such value gets",
    ("value", ["InvalidRngError"] * 3),
)
def dicts_of_bad_rngs(l):
    model = l.Linear(2)
    return [
        caught(model.init, {"params": 3}, X),
        caught(model.init, {3: KEY}, X),
        caught(model.apply, {}, X, rngs={"params": 3}),
    ]


@case
def bind(l):
    model = l.Pair()
    variables = model.init(KEY, X)
    bound = model.bind(variables)
    unbound, same = bound.unbind()
    layer, layer_variables = bound.a.unbind()
    return [
        bound(X),
        bound.a(X),
        bound(X),
        bound.encode(X),
        bound.variables,
        bound.b.variables,
        same,
        unbound == model,
        unbound.apply(same, X),
        layer.apply(layer_variables, X),
        layer.name,
        layer_variables,
        caught(unbound.unbind),
        bound == model.bind(variables),
        bound.path,
        bound.a.path,
        bound.name,
        bound.a.name,
    ]


@case
def bind_compact(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return l.Linear(2)(x)

    bound = A().bind(A().init(KEY, X))
    return [
        bound(X),
        bound(X),
        caught(lambda: bound.Linear_0),
        hasattr(bound, "Linear_0"),
    ]


@case
def bind_mutable(l):
    model = l.Count()
    variables = model.init(KEY, X)
    bound = model.bind(variables, mutable=["state"])
    frozen = model.bind(variables)
    return [
        bound(X),
        bound(X),
        bound.variables,
        bound.unbind()[1],
        variables,
        caught(frozen, X),
        bound.is_mutable_collection("state"),
    ]


@case
def bind_rngs(l):
    class A(l.nn.Module):
        def __call__(self):
            return self.make_rng("noise")

    bound = A().bind({}, rngs={"noise": KEY})
    return [bound(), bound(), caught(A().bind({}))]


@case
def binding_a_bound_module(l):
    model = l.Pair()
    variables = model.init(KEY, X)
    bound = model.bind(variables)
    return [
        bound.apply(variables, X),
        bound.init(KEY, X),
        bound.a.apply({"params": variables["params"]["a"]}, X),
        bound.bind(variables).a(X),
        bound.a.init(KEY, X),
    ]


@differs(
    "flax refuses late use only of the root's scope and of some operations",
    ("value", ["InvalidScopeError"] * 4),
)
def using_after_the_call(l):
    kept = []

    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            layer = l.Linear(2)
            kept.extend([layer, self, self.variable("s", "v", lambda: 1)])
            return layer(x)

    A().init(KEY, X)
    return [
        caught(kept[0], X),
        caught(kept[1], X),
        caught(kept[0].make_rng, "params"),
        caught(setattr, kept[2], "value", 3),
    ]


@case
def initializing_flag(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self):
            inner = l.nn.apply(lambda m: m.is_initializing(), l.Linear(2, parent=None))
            return self.is_initializing(), inner({})

    return [
        A().init_with_output(KEY)[0],
        A().apply({}),
        A().apply({}, mutable=True)[0],
        l.nn.init_with_output(lambda m: m(), A())(KEY)[0],
    ]


@case
def mutable_filters(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            a = self.variable("a", "v", lambda: jnp.zeros(()))
            b = self.variable("b", "v", lambda: jnp.zeros(()))
            if a.is_mutable():
                a.value += 1
            if b.is_mutable():
                b.value += 2
            return l.Linear(1)(x)

    variables = A().init(KEY, X)
    filters = [False, True, "a", ["a"], ("a", "b"), {"b"}, [], l.nn.DenyList("a")]
    return [A().apply(variables, X, mutable=f) for f in filters] + [
        caught(A().apply, variables, X, mutable=3),
        caught(A().init, KEY, X, mutable=["params"]),
        caught(A().init, KEY, X, mutable=False),
    ]


@case
def functional(l):
    model = l.Pair()

    def f(m, x, scale=1):
        return m.b(m.a(x)) * scale

    y, variables = l.nn.init_with_output(f, model)(KEY, X)
    return [
        y,
        variables,
        l.nn.init(f, model)({"params": KEY}, X),
        l.nn.apply(f, model)(variables, X, scale=3),
        l.nn.apply(f, model, mutable=["params"])(variables, X),
        jax.jit(l.nn.apply(f, model))(variables, X),
    ]


@differs(
    "wrong arguments are refused at once, with the documented errors",
    ("value", ["InvalidInstanceModuleError", "ApplyModuleInvalidMethodError"]),
)
def functional_on_the_class(l):
    return [
        caught(l.nn.apply, lambda m: m, l.Pair),
        caught(l.nn.apply, 3, l.Pair()),
    ]


@case
def apply_within_apply(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            inner = l.Linear(2, parent=None)
            variables = inner.init(KEY, x)
            y = inner.apply(variables, x)
            return y + l.Linear(2)(x)

    class B(l.nn.Module):
        inner: Any

        @l.nn.compact
        def __call__(self, x):
            variables = self.inner.init(KEY, x)
            return self.inner.apply(variables, x)

    return [A().init_with_output(KEY, X), B(l.Linear(2)).init_with_output(KEY, X)]


@case
def merge_param(l):
    return [
        l.nn.merge_param("a", None, 3),
        l.nn.merge_param("a", 3, None),
        l.nn.merge_param("a", False, None),
        caught(l.nn.merge_param, "a", None, None),
        caught(l.nn.merge_param, "a", 1, 2),
    ]


@case
def jax_transforms_inside(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return jax.jit(l.Linear(2))(x)

    class B(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            kernel = self.param("k", ones, (3, 2))
            return jax.vmap(lambda row: row @ kernel)(x)

    class C(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            layer = l.Linear(2)
            if self.is_initializing():
                return layer(x)
            return jax.vmap(layer.__call__)(x)

    variables = C().init(KEY, X)
    return [
        caught(A().init, KEY, X),
        caught(B().init, KEY, X),
        caught(C().apply, variables, X),
    ]


@differs(
    "flax's own check finds no trace levels in this JAX, and values leak",
    ("value", ["JaxTransformError", "JaxTransformError"]),
)
def jax_transforms_of_declarations(l):
    class B(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            layer = l.Linear(2)
            return jax.vmap(lambda row: layer(row))(x)

    class C(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return jax.jit(lambda x: l.Linear(2)(x))(x)

    return [caught(cls().init, KEY, X) for cls in (B, C)]


@case
def outer_transforms(l):
    model = l.Pair()
    variables = model.init(KEY, X)
    keys = jax.random.split(KEY, 3)
    return [
        jax.vmap(model.init, in_axes=(0, None))(keys, X),
        jax.vmap(model.apply, in_axes=(None, 0))(variables, X),
        jax.grad(lambda v: model.apply(v, X).sum())(variables),
        jax.eval_shape(model.init, KEY, X)["params"]["a"]["kernel"].shape,
        jax.lax.scan(lambda c, x: (c + 1, model.apply(variables, x)), 0, X),
    ]


@case
def input_variables_are_not_changed(l):
    given = {"state": {"count": jnp.zeros(())}}
    _, new = l.Count().apply(given, X, mutable=["state"])
    return [given, new]


@case
def module_paths(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return l.Pair()(l.Linear(3, name="lin")(x))

    found = A().module_paths(KEY, X)
    return [list(found), [type(m).__name__ for m in found.values()]]


@case
def unbinding_keeps_what_is_shared(l):
    class User(l.nn.Module):
        layer: Any

        def __call__(self, x):
            return self.layer(x)

    class A(l.nn.Module):
        one: Any
        two: Any

        def __call__(self, x):
            return self.one(x) + self.two(x)

    shared = l.Linear(2)
    model = A(User(shared), User(shared))
    bound = model.bind(model.init(KEY, X))
    unbound, _ = bound.unbind()
    return [
        unbound.init(KEY, X),
        bound.init(KEY, X),
        unbound.one.name,
        unbound.one.layer.name,
        unbound == model,
    ]


@case
def lazy_init(l):
    shape = jax.ShapeDtypeStruct((4, 3), "float32")

    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x, flag):
            return l.Linear(3)(x) if flag else x

    class B(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return self.param("k", lambda key: x)

    return [
        A().lazy_init(KEY, shape, flag=True),
        A().lazy_init({"params": KEY}, X, True),
        l.Pair().lazy_init(KEY, shape, method="encode"),
        caught(B().lazy_init, KEY, shape),
    ]


@case
def error_then_again_on_bound(l):
    fail = [False]

    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            y = l.Linear(2)(x)
            if fail[0]:
                raise KeyError
            return l.Linear(2)(y)

    bound = A().bind(A().init(KEY, X))
    fail[0] = True
    first = caught(bound, X)
    fail[0] = False
    return [first, bound(X), bound(X)]
