"""Shared scopes and name scopes; interceptors, captures, names in profiles."""

from typing import Any

from jax import numpy as jnp

from .module_programs import KEY, X, case, caught, differs, normal, ones


@case
def share_scope_in_setup(l):
    class Lora(l.nn.Module):
        layer: Any

        def setup(self):
            l.nn.share_scope(self, self.layer)

        @l.nn.compact
        def __call__(self, x):
            a = self.param("a", normal, (x.shape[-1], 2))
            b = self.param("b", normal, (2, self.layer.features))
            return self.layer(x) + x @ a @ b

    class Model(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return Lora(l.Linear(4))(x)

    class Two(l.nn.Module):
        def setup(self):
            self.one = Lora(l.Linear(4))
            self.two = Lora(l.Linear(2))

        def __call__(self, x):
            return self.two(self.one(x))

    return [
        Model().init_with_output(KEY, X),
        Lora(l.Linear(3)).init_with_output(KEY, X),
        Two().init_with_output(KEY, X),
    ]


@case
def share_scope_with_own_child(l):
    class Outer(l.nn.Module):
        def setup(self):
            self.inner = l.Pair()
            l.nn.share_scope(self, self.inner)

        @l.nn.compact
        def __call__(self, x):
            return l.Linear(2)(self.inner(x))

    class Model(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return Outer()(x) + Outer(name="named")(x)

    return [Outer().init_with_output(KEY, X), Model().init_with_output(KEY, X)]


@case
def share_scope_in_compact(l):
    class Outer(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            inner = l.Linear(2)
            l.nn.share_scope(self, inner)
            bias = self.param("bias", ones, (2,))
            return inner(x) + bias

    class Model(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return Outer()(x) + Outer()(x)

    return [caught(Outer().init, KEY, X), caught(Model().init, KEY, X)]


@case
def share_scope_of_siblings(l):
    class Model(l.nn.Module):
        def setup(self):
            self.one = l.Linear(2)
            self.two = l.Count()
            l.nn.share_scope(self.one, self.two)

        def __call__(self, x):
            return self.one(x), self.two(x)

    return Model().init_with_output(KEY, X)


@case
def share_scope_clash(l):
    class Outer(l.nn.Module):
        def setup(self):
            self.inner = l.Linear(2)
            l.nn.share_scope(self, self.inner)

        @l.nn.compact
        def __call__(self, x):
            return self.inner(x) + self.param("kernel", ones, (1,))

    return Outer().init(KEY, X)


@case
def share_scope_of_unbound(l):
    return l.nn.share_scope(l.Pair(), l.Linear(2))


@case
def share_scope_and_streams(l):
    class Draw(l.nn.Module):
        def __call__(self):
            return self.make_rng("noise")

    class Outer(l.nn.Module):
        def setup(self):
            self.inner = Draw()
            l.nn.share_scope(self, self.inner)

        def __call__(self):
            first = self.make_rng("noise")
            return first, self.inner(), self.make_rng("noise"), self.inner.path

    class Model(l.nn.Module):
        @l.nn.compact
        def __call__(self):
            outer = Outer(name="o")
            return outer(), outer(), outer.path

    rngs = {"noise": KEY}
    return [Outer().apply({}, rngs=rngs), Model().apply({}, rngs=rngs)]


@case
def compact_name_scope(l):
    class A(l.nn.Module):
        @l.nn.compact_name_scope
        def up(self, x):
            return l.Linear(4)(x)

        @l.nn.compact_name_scope
        def down(self, x):
            self.sow("intermediates", "x", x)
            return l.Linear(3)(x) * self.param("scale", ones, (3,))

        @l.nn.compact
        def __call__(self, x):
            return l.Linear(3)(self.down(self.up(x))) + self.down(self.up(x))

    model = A()
    y, variables = model.init_with_output(KEY, X)
    return [
        y,
        variables,
        model.apply(variables, X, mutable=["intermediates"]),
        caught(lambda: model.apply(variables, X, method="up")),
        caught(lambda: model.init(KEY, X, method="up")),
    ]


@case
def compact_name_scope_streams(l):
    class A(l.nn.Module):
        @l.nn.compact_name_scope
        def draw(self):
            return self.make_rng("noise"), self.make_rng("noise"), self.path

        @l.nn.compact
        def __call__(self):
            return self.make_rng("noise"), self.draw(), self.draw(), self.path

    return A().apply({}, rngs={"noise": KEY})


@case
def interceptors(l):
    log = []

    def outer(next_fun, args, kwargs, context):
        log.append(("outer", type(context.module).__name__, context.method_name))
        return next_fun(*args, **kwargs)

    def inner(next_fun, args, kwargs, context):
        log.append(("inner", context.module.name, context.method_name))
        y = next_fun(*args, **kwargs)
        return y * 2 if context.method_name == "__call__" else y

    model = l.Pair()
    variables = model.init(KEY, X)
    with l.nn.intercept_methods(outer), l.nn.intercept_methods(inner):
        y = model.apply(variables, X)
    z = model.apply(variables, X)
    return [y, z, log]


@case
def interceptor_changes_arguments(l):
    def swap(next_fun, args, kwargs, context):
        if type(context.module).__name__ == "Linear":
            return next_fun(*[a + 1 for a in args], **kwargs)
        return next_fun(*args, **kwargs)

    def skip(next_fun, args, kwargs, context):
        return jnp.zeros(2) if context.module.name == "b" else next_fun(*args)

    def direct(next_fun, args, kwargs, context):
        return context.orig_method(*args, **kwargs)

    model = l.Pair()
    variables = model.init(KEY, X)
    out = []
    for interceptor in (swap, skip, direct):
        with l.nn.intercept_methods(interceptor):
            out.append(model.apply(variables, X))
    return out


@case
def interceptors_and_properties_and_helpers(l):
    log = []

    class A(l.nn.Module):
        @property
        def prop(self):
            return 3

        @l.nn.nowrap
        def free(self):
            return 4

        def helper(self):
            return 5

        @staticmethod
        def static():
            return 6

        @l.nn.compact
        def __call__(self, x):
            self.param("p", ones, (1,))
            self.variable("state", "v", lambda: 0)
            self.sow("intermediates", "x", x)
            return self.prop + self.free() + self.helper() + self.static()

    def interceptor(next_fun, args, kwargs, context):
        log.append(context.method_name)
        return next_fun(*args, **kwargs)

    with l.nn.intercept_methods(interceptor):
        A().init(KEY, X)
        A().helper()
    return log


@case
def failing_interceptor(l):
    def fail(next_fun, args, kwargs, context):
        raise KeyError(context.method_name)

    model = l.Linear(2)
    with l.nn.intercept_methods(fail):
        first = caught(model.init, KEY, X)
    return [first, model.init(KEY, X)]


@case
def capture(l):
    model = l.Pair()
    variables = model.init(KEY, X)
    return [
        model.apply(variables, X, capture_intermediates=True),
        model.apply(variables, X, capture_intermediates=True, mutable=["params"]),
        model.apply(variables, X, capture_intermediates=lambda m, n: n == "encode"),
        model.apply(
            variables,
            X,
            capture_intermediates=lambda m, n: isinstance(m, l.Linear),
            mutable=["intermediates"],
        ),
        model.apply(variables, X, capture_intermediates=False, mutable=True),
        model.init(KEY, X, capture_intermediates=True),
        model.init_with_output(KEY, X, capture_intermediates=True),
        model.apply(
            variables, X, method="encode", capture_intermediates=lambda m, n: True
        ),
        l.nn.apply(lambda m, x: m(x), model, capture_intermediates=True)(variables, X),
        l.nn.init(lambda m, x: m(x), model, capture_intermediates=True)(KEY, X),
    ]


@case
def capture_with_a_shared_module(l):
    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            layer = l.Linear(3)
            return layer(layer(x))

    variables = A().init(KEY, X)
    return A().apply(variables, X, capture_intermediates=True)


@case
def named_calls(l):
    from jax import make_jaxpr

    model = l.Pair()
    variables = model.init(KEY, X)

    def stacks():
        jaxpr = make_jaxpr(model.apply)(variables, X)
        return [str(eqn.source_info.name_stack) for eqn in jaxpr.eqns]

    out = [stacks()]
    with l.nn.override_named_call(False):
        out.append(stacks())
    l.nn.disable_named_call()
    out.append(stacks())
    l.nn.enable_named_call()
    out.append(stacks())
    return out


@case
def named_calls_of_methods(l):
    from jax import make_jaxpr

    class A(l.nn.Module):
        @l.nn.compact
        def __call__(self, x):
            return self.helper(l.Linear(3, name="lin")(x) + l.Linear(3)(x)) + 1

        def helper(self, x):
            return x * 3

    variables = A().init(KEY, X)
    jaxpr = make_jaxpr(A(name="top").apply)(variables, X)
    return [str(eqn.source_info.name_stack) for eqn in jaxpr.eqns]


@case
def name_scopes_clash(l):
    def model(first):
        class A(l.nn.Module):
            @l.nn.compact_name_scope
            def up(self, x):
                return l.Linear(3)(x)

            @l.nn.compact
            def __call__(self, x):
                if first:
                    x = l.Linear(3, name="up")(x)
                x = self.up(x)
                return l.Linear(3, name="up")(x)

        return caught(A().init, KEY, X)

    return [model(False), model(True)]


@case
def name_scopes_nested(l):
    class A(l.nn.Module):
        @l.nn.compact_name_scope
        def up(self, x, n):
            x = self.down(l.Linear(3)(x))
            return self.up(x, n - 1) if n else x

        @l.nn.compact_name_scope
        def down(self, x):
            self.sow("intermediates", "seen", x.shape[0])
            return l.Linear(3)(x)

        def __call__(self, x):
            return self.up(x, 2) + self.down(x)

    model = A()
    variables = model.init(KEY, X)
    bound = model.bind(variables)
    return [
        variables,
        model.apply(variables, X, mutable=["intermediates"]),
        model.apply(variables, X, capture_intermediates=lambda m, n: True),
        model.init(KEY, X, method="down"),
        bound(X),
        bound.down(X),
    ]


@differs(
    "one error for all uses of unbound modules",
    ("error", "CallCompactUnboundModuleError"),
)
def name_scope_of_unbound(l):
    class A(l.nn.Module):
        @l.nn.compact_name_scope
        def up(self, x):
            return x

    return A().up(X)
