"""The programs of the API page "flax.errors": each raises what it is shown to raise."""

import functools

import jax
import numpy as np
import pytest
from jax import lax, random
from jax import numpy as jnp

from batiste import linen as nn
from batiste.core import Scope
from batiste.core import errors as core_errors
from batiste.linen import errors, initializers
from batiste.linen.initializers import lecun_normal


def test_submodules_in_a_method_that_is_not_compact():
    class Foo(nn.Module):
        def setup(self):
            pass

        def __call__(self, x):
            nn.Conv(features=3, kernel_size=3)

    with pytest.raises(errors.AssignSubModuleError, match="Conv"):
        Foo().init(random.PRNGKey(0), jnp.zeros((1,)))


def test_a_partial_module_of_setup_made_outside_of_it():
    class Foo(nn.Module):
        def setup(self):
            self.conv = functools.partial(nn.Conv, features=3)

        def __call__(self, x):
            return self.conv(kernel_size=4)(x)

    with pytest.raises(errors.AssignSubModuleError, match="Conv"):
        Foo().init(random.PRNGKey(0), jnp.zeros((1,)))


def test_calling_an_unbound_module():
    test_dense = nn.Dense(10)
    with pytest.raises(errors.CallCompactUnboundModuleError):
        test_dense(jnp.ones((5, 5)))
    variables = test_dense.init(random.PRNGKey(0), jnp.ones((5, 5)))
    assert test_dense.apply(variables, jnp.ones((5, 5))).shape == (5, 10)


class MySubModule(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x)


def test_calling_setup():
    class MyModule(nn.Module):
        def setup(self):
            self.submodule = MySubModule()

    module = MyModule()
    with pytest.raises(errors.CallSetupUnboundModuleError):
        module.setup()

    def get_submodule(module):
        return module.submodule.clone()

    submodule = nn.apply(get_submodule, module)({})
    assert isinstance(submodule, MySubModule)


def test_unbinding_an_unbound_module():
    class MyModule(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(features=10)(x)

    module = MyModule()
    with pytest.raises(errors.CallUnbindOnUnboundModuleError):
        module.unbind()
    variables = module.init(random.PRNGKey(0), jnp.ones((1, 3)))
    bound_module = module.bind(variables)
    # `unbind` returns a pair, of which the page shows one.
    unbound, same = bound_module.unbind()
    assert unbound == module
    jax.tree.map(np.testing.assert_array_equal, same, variables)


def test_a_property_of_a_missing_attribute():
    class Foo(nn.Module):
        @property
        def prop(self):
            return self.non_existent_field

        def __call__(self, x):
            return self.prop

    foo = Foo()
    with pytest.raises(errors.DescriptorAttributeError) as info:
        foo.init(jax.random.PRNGKey(0), jnp.ones(shape=(1, 8)))
    chain = f"{info.value} {info.value.__cause__}"
    assert "non_existent_field" in chain or "prop" in chain


def test_post_init_without_the_one_of_the_base():
    class A(nn.Module):
        x: float

        def __post_init__(self):
            self.x_square = self.x**2

        @nn.compact
        def __call__(self, input):
            return input + 3

    r = A(x=3)
    with pytest.raises(errors.IncorrectPostInitOverrideError, match="post_init"):
        r.init(jax.random.PRNGKey(2), jnp.ones(3))


def test_methods_on_a_class():
    class B(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x

    k = random.PRNGKey(0)
    x = random.uniform(random.PRNGKey(1), (2,))
    with pytest.raises(errors.InvalidInstanceModuleError):
        B.init(k, x)
    with pytest.raises(errors.InvalidInstanceModuleError):
        B.apply({}, x)


def test_random_streams():
    class Bar(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.param("some_param", nn.initializers.zeros_init(), (1,))
            dropout_rng = self.make_rng("dropout")
            x = nn.Dense(features=4)(x)
            return x + random.normal(dropout_rng, x.shape)

    class Foo(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Bar()(x)

    inputs = jnp.ones((1, 3))
    init_rngs = {"params": random.PRNGKey(0), "dropout": random.PRNGKey(1)}
    variables = Foo().init(init_rngs, inputs)
    assert sorted(variables["params"]["Bar_0"]) == ["Dense_0", "some_param"]
    Foo().apply(variables, inputs, rngs={"dropout": random.PRNGKey(2)})
    with pytest.raises(core_errors.InvalidRngError, match="dropout"):
        Foo().apply(variables, inputs)

    # A module with parameters only takes a bare key, and none when it is applied.
    some = MySubModule()
    variables = some.init(random.PRNGKey(0), inputs)
    named = some.init({"params": random.PRNGKey(0)}, inputs)
    jax.tree.map(np.testing.assert_array_equal, variables, named)
    assert some.apply(variables, inputs).shape == (1, 2)


def test_a_scope_outside_of_its_context():
    variables, rngs = {"params": {"a": jnp.ones(2)}}, {}

    def fn(root):
        return root.get_variable("params", "a").sum()

    with Scope(variables, rngs=rngs).temporary() as root:
        y = fn(root)
    assert y == 2.0
    with pytest.raises(core_errors.InvalidScopeError):
        root.push("child")


def test_lazy_init_of_what_depends_on_values():
    class Foo(nn.Module):
        @nn.compact
        def __call__(self, x):
            k = self.param("kernel", lambda _: x)
            return x * k

    with pytest.raises(core_errors.LazyInitError):
        Foo().lazy_init(random.PRNGKey(0), jax.ShapeDtypeStruct((8, 4), jnp.float32))


def test_changing_what_is_not_mutable():
    class MyModule(nn.Module):
        @nn.compact
        def __call__(self, x):
            var = self.variable("batch_stats", "mean", jnp.zeros, ())
            var.value = var.value + x.mean()
            return x

    batch = jnp.ones((4,))
    v = MyModule().init(random.PRNGKey(0), batch)
    with pytest.raises(core_errors.ModifyScopeVariableError) as info:
        MyModule().apply(v, batch)
    assert "batch_stats" in str(info.value)
    assert "mean" in str(info.value)
    logits, state = MyModule().apply(v, batch, mutable=["batch_stats"])
    assert state["batch_stats"]["mean"] == v["batch_stats"]["mean"] + 1


def test_two_compact_methods():
    with pytest.raises(errors.MultipleMethodsCompactError):

        class Foo(nn.Module):
            @nn.compact
            def one(self, x):
                return x

            @nn.compact
            def other(self, x):
                return x


def test_one_name_for_two_submodules():
    class Wrong(nn.Module):
        @nn.compact
        def __call__(self, x):
            # `features`; the page's `feature` is a slip.
            y = nn.Dense(features=3, name="bar")(x)
            return y + nn.Dense(features=3, name="bar")(x + 1)

    class Shared(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(features=3, name="bar")
            return dense(x) + dense(x + 1)

    class Unnamed(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = MySubModule()(x)
            return MySubModule()(x)

    x = jnp.ones((1, 3))
    with pytest.raises(errors.NameInUseError, match="bar"):
        Wrong().init(random.PRNGKey(0), x)
    assert list(Shared().init(random.PRNGKey(0), x)["params"]) == ["bar"]
    names = list(Unnamed().init(random.PRNGKey(0), x)["params"])
    assert names == ["MySubModule_0", "MySubModule_1"]


def test_one_name_for_a_parameter_and_a_submodule():
    class Foo(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.param("bar", nn.initializers.zeros_init(), (1,))
            nn.Embed(num_embeddings=2, features=5, name="bar")

    with pytest.raises(errors.NameInUseError, match="bar"):
        Foo().init(random.PRNGKey(0), jnp.ones((1,)))


def test_one_name_for_a_parameter_and_a_variable():
    """Names are unique in a collection.

    The page wants them unique over all collections. Later releases let each
    collection have its own, and programs rely on that, so it is allowed here too.
    """

    class Foo(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            _ = self.param("mean", initializers.lecun_normal(), (2, 2))
            _ = self.variable("params", "mean", initializers.zeros_init(), (2, 2))

    class Separate(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            _ = self.param("mean", initializers.lecun_normal(), (2, 2))
            _ = self.variable("stats", "mean", jnp.zeros, (2, 2))

    with pytest.raises(errors.NameInUseError, match="mean"):
        Foo().init(random.PRNGKey(0), jnp.ones((1,)))
    variables = Separate().init(random.PRNGKey(0), jnp.ones((1,)))
    assert list(variables["params"]) == list(variables["stats"]) == ["mean"]


def test_a_parameter_of_another_name():
    class Embed(nn.Module):
        num_embeddings: int
        features: int

        @nn.compact
        def __call__(self, inputs, embed_name="embedding"):
            inputs = inputs.astype("int32")
            embedding = self.param(
                embed_name,
                jax.nn.initializers.lecun_normal(),
                (self.num_embeddings, self.features),
            )
            return embedding[inputs]

    model = Embed(4, 8)
    variables = model.init(random.PRNGKey(0), jnp.ones((5, 5, 1)))
    with pytest.raises(core_errors.ScopeParamNotFoundError) as info:
        model.apply(variables, jnp.ones((5, 5, 1)), "embed")
    # What is missing, and what was found in its place.
    assert "embed" in str(info.value)
    assert "embedding" in str(info.value)


def test_a_parameter_of_another_shape():
    class NoBiasDense(nn.Module):
        features: int = 8

        @nn.compact
        def __call__(self, x):
            kernel = self.param("kernel", lecun_normal(), (x.shape[-1], self.features))
            return lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))

    variables = NoBiasDense().init(random.PRNGKey(0), jnp.ones((5, 5, 1)))
    with pytest.raises(core_errors.ScopeParamShapeError) as info:
        NoBiasDense().apply(variables, jnp.ones((5, 5)))
    message = str(info.value)
    assert "kernel" in message
    assert "(1, 8)" in message
    assert "(5, 8)" in message


def test_assigning_to_a_frozen_module():
    class SomeModule(nn.Module):
        @nn.compact
        def __call__(self, x, num_features=10):
            self.num_features = num_features
            return nn.Dense(self.num_features)(x)

    with pytest.raises(errors.SetAttributeFrozenModuleError, match="num_features"):
        SomeModule().init(random.PRNGKey(0), jnp.ones((5, 5)))


def test_assigning_to_a_submodule_in_setup():
    class Foo(nn.Module):
        def setup(self):
            self.dense = nn.Dense(features=10)
            self.dense.features = 20

        def __call__(self, x):
            return self.dense(x)

    with pytest.raises(errors.SetAttributeFrozenModuleError, match="features"):
        Foo().init(random.PRNGKey(0), jnp.ones((1, 3)))


def test_assigning_to_a_field_in_setup():
    class Foo(nn.Module):
        features: int = 6

        def setup(self):
            self.features = 3

        def __call__(self, x):
            return nn.Dense(self.features)(x)

    class Corrected(nn.Module):
        features: int = 6

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.features)(x)

    with pytest.raises(errors.SetAttributeInModuleSetupError):
        Foo().init(random.PRNGKey(0), jnp.ones((1,)))
    variables = Corrected(features=3).init(random.PRNGKey(0), jnp.ones((1,)))
    assert variables["params"]["Dense_0"]["kernel"].shape == (1, 3)


def test_transforming_an_instance():
    x = jnp.ones((2, 4))
    with pytest.raises(errors.TransformTargetError):
        nn.vmap(nn.Dense(3))(x)

    class ByClass(nn.Module):
        @nn.compact
        def __call__(self, x):
            axes = dict(variable_axes={"params": 0}, split_rngs={"params": True})
            return nn.vmap(nn.Dense, **axes)(3)(x)

    class BatchDense(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.vmap(
                lambda mdl, x: mdl(x),
                variable_axes={"params": 0},
                split_rngs={"params": True},
            )(nn.Dense(3), x)

    by_class = ByClass().init(random.PRNGKey(0), x)["params"]
    by_function = BatchDense().init(random.PRNGKey(0), x)["params"]
    assert by_class["VmapDense_0"]["kernel"].shape == (2, 4, 3)
    assert by_function["Dense_0"]["kernel"].shape == (2, 4, 3)


def test_the_errors_without_a_program():
    """Those that the page describes in words."""
    dense = nn.Dense(3)
    x = jnp.ones((1, 2))
    params = dense.init(random.PRNGKey(0), x)["params"]
    with pytest.raises(core_errors.ApplyScopeInvalidVariablesStructureError):
        dense.apply({"params": {"params": params}}, x)
    with pytest.raises(core_errors.ApplyScopeInvalidVariablesTypeError):
        dense.apply(jnp.ones(3), x)
    with pytest.raises(errors.ApplyModuleInvalidMethodError):
        dense.apply({"params": params}, x, method=3)
    nested = MySubModule()
    nested_params = nested.init(random.PRNGKey(0), x)["params"]
    with pytest.raises(core_errors.ScopeCollectionNotFound):
        # The parameters in place of the variables that hold them.
        nested.apply(nested_params, x)
    with pytest.raises(core_errors.InvalidFilterError):
        dense.apply({"params": params}, x, mutable=3.5)
    with pytest.raises(errors.ReservedModuleAttributeError):

        class Foo(nn.Module):
            parent: int


def test_variables_that_are_not_there():
    class Foo(nn.Module):
        @nn.compact
        def __call__(self, x):
            return self.variable("state", "b", jnp.zeros, ()).value

    with pytest.raises(core_errors.ScopeVariableNotFoundError, match="state"):
        Foo().apply({"state": {"a": jnp.zeros(())}}, jnp.ones(2))


def test_jax_transforms_inside_modules():
    class Foo(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(3)
            return jax.vmap(lambda row: dense(row))(x)

    with pytest.raises(core_errors.JaxTransformError):
        Foo().init(random.PRNGKey(0), jnp.ones((2, 4)))


def test_transformed_methods_return_arrays():
    class Foo(nn.Module):
        @nn.jit
        @nn.compact
        def __call__(self, x):
            return self

    with pytest.raises(errors.TransformedMethodReturnValueError):
        Foo().init(random.PRNGKey(0), jnp.ones((2, 4)))
