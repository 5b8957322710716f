"""The function that is exported, its weights, and what cannot be exported."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import freeze
from batiste.training.errors import ExportError
from batiste.training.export import program

X = np.arange(6, dtype=np.float32).reshape(3, 2)
W = {"params": freeze({"w": np.ones((2, 4), np.float32), "b": np.zeros(4)})}


def dense(variables, x, *, double=False):
    y = x @ variables["params"]["w"] + variables["params"]["b"]
    return freeze({"y": 2 * y if double else y})


def make(model=dense, variables=W, args=(X,), kwargs=None, **options):
    return program.make_program(model, variables, args, kwargs or {}, **options)


def test_the_program_is_of_plain_trees():
    found = make(kwargs={"double": True})
    assert found.name == "dense"
    assert found.variables == {"params": {"b": 0, "w": 1}}
    assert [w.dtype for w in found.weights] == [np.float32, np.float32]
    y = found.function(found.weights, X)
    assert type(y) is dict
    np.testing.assert_array_equal(y["y"], dense(W, X, double=True)["y"])
    assert str(found.inputs.positional[0].shape) == "(batch, 2)"
    assert found.example.positional[0].shape == (3, 2)


def test_what_a_module_is_asked_for():
    calls = []

    class Module:
        def __call__(self, x):
            raise NotImplementedError

        def apply(self, variables, x, **kwargs):
            calls.append((variables, kwargs))
            return x

    key = jax.random.key(0)
    found = make(Module(), rngs={"dropout": key}, method="encode", mutable=["a"])
    assert found.name == "Module"
    positional, keyword = found.plain_inputs()
    assert set(keyword) == {"rngs"}
    assert keyword["rngs"]["dropout"].dtype == key.dtype
    found.function(found.weights, X, rngs={"dropout": key})
    ((variables, kwargs),) = calls
    assert jax.tree.structure(variables) == jax.tree.structure(W)
    assert kwargs == {"method": "encode", "mutable": ["a"], "rngs": {"dropout": key}}


def test_names_of_functions_and_bound_methods():
    class Module:
        def apply(self, variables, x):
            return x

    assert make(Module().apply).name == "Module"
    assert make(jax.tree_util.Partial(dense)).name == "Partial"


def test_a_key_among_the_variables():
    variables = {"w": np.ones(2, np.float32), "key": jax.random.key(3, impl="rbg")}

    def call(variables, x):
        return x + jax.random.normal(variables["key"], x.shape)

    found = make(call, variables)
    assert found.keys == {0: "rbg"}
    assert found.weights[0].dtype == jnp.uint32
    np.testing.assert_array_equal(found.function(found.weights, X), call(variables, X))


def test_a_weak_type_stays_weak():
    found = make(lambda w, x: w * x, jnp.exp(1.0), (jnp.ones(2, jnp.bfloat16),))
    assert program.trace(found).out_avals[0].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("leaf", "text"),
    [
        (1.0, r'"params/w", 1\.0, is no array: make it one'),
        ("text", "\"params/w\", 'text', is no array"),
        (jax.ShapeDtypeStruct((2,), "float32"), '"params/w".*has no value: give'),
    ],
)
def test_variables_that_are_no_arrays(leaf, text):
    with pytest.raises(ExportError, match=text):
        make(variables={"params": {"w": leaf}})


def test_traced_variables():
    with pytest.raises(ExportError, match='"w".*is traced: export outside'):
        jax.jit(lambda w: make(lambda v, x: x, {"w": w}))(1.0)


@pytest.mark.parametrize(("model", "options"), [(3, {}), (dense, {"mutable": ["a"]})])
def test_what_is_no_model(model, options):
    with pytest.raises(ExportError, match="The model is .* It must be a module, or"):
        make(model, **options)


def test_platforms():
    found = program.trace(make(), ["cpu", "cuda", "tpu"])
    assert found.platforms == ("cpu", "cuda", "tpu")
    assert program.trace(make(), "cuda").platforms == ("cuda",)
    assert found.fun_name == "dense"


def test_the_models_own_error_is_raised_as_it_is():
    def call(variables, x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        program.trace(make(call))


def test_a_size_that_the_model_wants_to_know():
    def call(variables, x):
        return jnp.zeros(len(x))

    text = (
        r"cannot export call: TypeError: .*`x.shape\[0\]`, not `len\(x\)`.*shapes=None"
    )
    with pytest.raises(ExportError, match=text):
        program.trace(make(call))
    assert program.trace(make(call, shapes=None)).out_avals[0].shape == (3,)


def test_a_size_that_the_model_decides_by():
    def call(variables, x):
        return x if x.shape[0] > 2 else 2 * x

    with pytest.raises(ExportError, match="InconclusiveDimensionOperation.*left open"):
        program.trace(make(call))


def test_a_platform_that_there_is_not():
    with pytest.raises(ExportError, match='no platform "gpu"; JAX has "cpu", "cuda"'):
        program.trace(make(), ["cpu", "gpu"])
