"""Variables, parameters, keys, sown values, perturbations and names."""

from typing import Any

import jax
from jax import numpy as jnp

from .module_programs import KEY, X, case, caught, differs, ones, plain


@case
def streams(l):
    class Draw(l.nn.Module):
        @l.nn.compact
        def __call__(self):
            first = self.make_rng("noise"), self.make_rng("noise")
            return first, self.make_rng("params"), self.make_rng()

    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self):
            draw = Draw()
            return (
                draw(),
                draw(),
                Draw(name="x")(),
                self.make_rng("other"),
                self.has_rng("noise"),
                self.has_rng("other"),
            )

    return [
        A().apply({}, rngs={"noise": KEY, "params": jax.random.key(9)}),
        A().apply({}, rngs={"params": jax.random.PRNGKey(9)}),
        caught(A().apply, {}),
        caught(A().apply, {}, rngs={"noise": KEY}),
    ]


@case
def variables_api(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            out = [
                self.has_variable("state", "v"),
                self.get_variable("state", "v", 7),
                self.is_mutable_collection("state"),
                self.is_mutable_collection("params"),
                self.is_initializing(),
            ]
            v = self.variable("state", "v", lambda n: jnp.ones(n), 3)
            if self.is_mutable_collection("state"):
                v.value = v.value * 2
                self.put_variable("state", "w", x)
            out += [
                v.value,
                v.is_mutable(),
                self.has_variable("state", "v"),
                self.get_variable("state", "v"),
                self.get_variable("state", "w"),
                plain(self.variables),  # later changes show in flax's
                self.path,
                l.Linear(2)(x),
                self.variables,
            ]
            return out

    class B(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return A(name="a")(x)

    y, variables = B().init_with_output(KEY, X)
    return [
        y,
        variables,
        B().apply(variables, X),
        B().apply(variables, X, mutable=["state"]),
        caught(B().apply, {}, X),
        caught(B().apply, {"state": {"a": {}}}, X),
    ]


@case
def writing_immutable(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, how):
            v = self.variable("state", "v", lambda: 1)
            if how == 1:
                v.value = 3
            elif how == 2:
                self.put_variable("state", "v", 3)
            elif how == 3:
                self.put_variable("params", "v", 3)

    variables = A().init(KEY, 0)
    return [caught(A().apply, variables, how) for how in range(4)]


@case
def variable_kwargs(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self):
            p = self.param(
                "p", lambda key, shape, scale: jnp.ones(shape) * scale, (2,), scale=3
            )
            v = self.variable("s", "v", lambda a, b: a + b, 1, b=2)
            return p, v.value

    return A().init_with_output(KEY)


@case
def variable_without_init(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self):
            return self.variable("s", "v").value

    return [
        caught(A().init, KEY),
        A().apply({"s": {"v": 3}}),
        caught(A().apply, {"s": {}}),
        caught(A().apply, {"s": {"w": 1}}),
        caught(A().apply, {}),
    ]


@case
def param_trees(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self):
            p = self.param("p", lambda key: {"a": jnp.ones(2), "b": (jnp.zeros(3),)})
            s = self.param("s", lambda key: 3.0)
            n = self.param("n", lambda key: None)
            return p["a"], p["b"], s, n

    y, variables = A().init_with_output(KEY)
    return [
        y,
        variables,
        A().apply(variables),
        caught(A().apply, {"params": {**variables["params"], "s": 5.0}}),
        caught(A().apply, {"params": {**variables["params"], "p": {"a": jnp.ones(3)}}}),
    ]


@case
def param_outside(l):
    class A(l.nn.Module):
        def __call__(self):
            return self.param("p", ones, (2,))

    class B(l.nn.Module):
        def __call__(self):
            return self.variable("s", "v", lambda: 1).value

    return [caught(A().init, KEY), caught(B().init, KEY)]


@case
def on_unbound(l):
    model = l.Linear(2)
    return [
        caught(model.make_rng, "params"),
        caught(model.has_rng, "params"),
        caught(model.has_variable, "s", "v"),
        caught(model.get_variable, "s", "v"),
        caught(model.put_variable, "s", "v", 1),
        caught(model.is_mutable_collection, "s"),
        caught(model.is_initializing),
        caught(model.sow, "s", "v", 1),
        caught(model.perturb, "s", 1),
        caught(lambda: model.variables),
        caught(lambda: model.path),
        caught(model.unbind),
        model.scope is None,
    ]


@differs(
    "a bare `assert` in flax",
    ("value", ["ValueError", "ValueError"]),
)
def declaring_on_unbound(l):
    model = l.Linear(2)
    return [
        caught(model.param, "p", ones, (2,)),
        caught(model.variable, "s", "v", lambda: 1),
    ]


@case
def sow(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            stored = [
                self.sow("intermediates", "x", x),
                self.sow("intermediates", "x", x + 1),
                self.sow("intermediates", "s", x, lambda a, b: a + b, lambda: 0),
                self.sow("intermediates", "s", x, lambda a, b: a + b, lambda: 0),
                self.sow("other", "t", {"a": x}),
            ]
            return [bool(s) for s in stored], l.Linear(2)(x)

    y, variables = A().init_with_output(KEY, X)
    return [
        y,
        variables,
        A().apply(variables, X),
        A().apply(variables, X, mutable=["intermediates"]),
        A().apply(variables, X, mutable=["other"]),
        A().init(KEY, X, mutable=True),
        A().apply(
            {**variables, "intermediates": {"x": (1,), "s": jnp.ones(())}},
            X,
            mutable=["intermediates"],
        ),
    ]


@case
def sow_clashes(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            self.param("p", ones, (2,))
            return self.sow("intermediates", "p", x)

    class C(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            self.sow("intermediates", "p", x)
            return l.Linear(2, name="p")(x)

    class D(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            self.sow("params", "p", x)
            return self.param("p", ones, (2,))

    return [
        caught(cls().init, KEY, X, mutable=mutable)
        for cls in (A, C, D)
        for mutable in (True, ["params"])
    ]


@differs(
    "all name clashes are NameInUseError",
    ("error", "NameInUseError"),
)
def sow_over_a_submodule(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            l.Linear(2, name="p")(x)
            return self.sow("intermediates", "p", x)

    return A().init(KEY, X, mutable=True)


@case
def sow_twice_in_two_calls(l):
    class Inner(l.nn.Module):
        def __call__(self, x):
            self.sow("intermediates", "x", x)
            return x

    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            inner = Inner()
            return inner(inner(x))

    return A().apply({}, X, mutable=["intermediates"])


@case
def perturb(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            x = l.Linear(3)(x)
            x = self.perturb("first", x)
            x = self.perturb("mine", x, collection="other")
            return l.Linear(2)(x)

    variables = A().init(KEY, X)

    def loss(perturbations):
        return (A().apply({**variables, "perturbations": perturbations}, X) ** 2).sum()

    return [
        variables,
        jax.grad(loss)(variables["perturbations"]),
        A().apply(variables, X),
        A().apply({"params": variables["params"]}, X),
        A().apply({"params": variables["params"]}, X, mutable=["perturbations"]),
        caught(
            A().apply, {"params": variables["params"], "perturbations": {"a": {}}}, X
        ),
        caught(A().apply, {"params": variables["params"], "perturbations": {}}, X),
    ]


@case
def perturb_twice(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            x = self.perturb("p", x)
            return self.perturb("p", x * 2)

    variables = A().init(KEY, X)
    given = jax.tree.map(lambda p: p + 1, variables)
    return [variables, A().apply(given, X), A().apply(given, X, mutable=True)]


@case
def name_clashes(l):
    nn = l.nn

    def model(body):
        class A(nn.Module):
            @nn.compact
            def __call__(self, x):
                return body(self, x)

        return caught(A().init, KEY, X)

    def two(first, second):
        def body(m, x):
            first(m, x)
            second(m, x)

        return body

    def param(m, x):
        m.param("p", ones, (2,))

    def module(m, x):
        l.Linear(2, name="p")(x)

    def unused(m, x):
        l.Linear(2, name="p")

    def variable(m, x):
        m.variable("s", "p", lambda: 1)

    def put(m, x):
        m.put_variable("s", "p", 1)

    makers = (param, module, unused, variable, put)
    return [model(two(a, b)) for a in makers for b in makers]


@case
def attribute_and_param_of_one_name(l):
    class A(l.nn.Module):
        width: int = 2

        @l.nn.compact
        def __call__(self, x):
            return self.param("width", ones, (self.width,))

    class B(l.nn.Module):
        def setup(self):
            self.bias = self.param("bias", ones, (2,))
            self.v = self.variable("s", "v", lambda: 1)

        def __call__(self, x):
            return self.bias + self.v.value

    return [caught(A().init, KEY, X), B().init_with_output(KEY, X)]


@case
def field_and_submodule_of_one_name(l):
    class A(l.nn.Module):
        width: int = 2

        @l.nn.compact
        def __call__(self, x):
            return l.Linear(2, name="width")(x)

    class B(l.nn.Module):
        layer: Any

        @l.nn.compact
        def __call__(self, x):
            return l.Linear(2, name="layer")(x) + self.layer(x)

    return [caught(A().init, KEY, X), caught(B(l.Linear(2)).init, KEY, X)]


@case
def method_and_submodule_of_one_name(l):
    class A(l.nn.Module):
        def setup(self):
            self.helper = l.Linear(2)

        def __call__(self, x):
            return self.helper(x)

        def helper(self, x):
            return x

    class B(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return l.Linear(2, name="helper")(x) + self.helper(x)

        def helper(self, x):
            return x.sum()

    return [caught(A().init, KEY, X), caught(B().init, KEY, X)]


@case
def odd_names(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            l.Linear(2, name="a/b")(x)
            l.Linear(2, name="")(x)
            return l.Linear(2, name="ünï")(x)

    class B(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return l.Linear(2, name=3)(x)

    return [caught(A().init, KEY, X), caught(B().init, KEY, X)]
