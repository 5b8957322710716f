"""What is an input, how it is named, and which of its sizes are open."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export

from batiste.training.errors import ExportError
from batiste.training.export import inputs

X = np.zeros((4, 8), np.float32)


class Model:
    def apply(self, variables, *args, method=None, **kwargs):
        raise NotImplementedError

    def __call__(self, image, scale=None, *rest, train=False):
        raise NotImplementedError

    def encode(self, tokens, /):
        raise NotImplementedError


def split(*args, **kwargs):
    return inputs.split_inputs(
        tuple(f"arg_{i}" for i in range(len(args))), args, kwargs
    )


@pytest.mark.parametrize(
    ("model", "method", "count", "names"),
    [
        (Model(), None, 4, ("image", "scale", "rest_0", "rest_1")),
        (Model(), "encode", 1, ("tokens",)),
        (Model(), Model.encode, 1, ("tokens",)),
        (Model(), Model().encode, 1, ("tokens",)),
        (Model(), "absent", 2, ("arg_0", "arg_1")),
        (lambda variables, x: x, None, 1, ("x",)),
        (lambda variables, x: x, None, 0, ()),
        (functools.partial(Model().apply, mask=X), None, 1, ("args_0",)),
        (lambda variables, args_1, *args: 0, None, 3, ("arg_0", "arg_1", "arg_2")),
        (max, None, 1, ("arg_0",)),
    ],
)
def test_names_of_arguments(model, method, count, names):
    assert inputs.argument_names(model, method, count) == names


def test_arrays_are_inputs_and_the_rest_by_keyword_is_fixed():
    found = split(
        X, {"a": jnp.ones(3)}, mask=X, key=jax.random.key(0), train=True, m=None
    )
    assert found.names == ("arg_0", "arg_1")
    assert found.positional[0] == jax.ShapeDtypeStruct((4, 8), jnp.float32)
    assert found.positional[1]["a"].shape == (3,)
    assert list(found.keyword) == ["mask", "key"]
    assert found.fixed == {"train": True, "m": None}
    assert [name for name, _ in found.named()] == ["arg_0", "arg_1", "mask", "key"]


def test_dtypes_are_those_that_jax_makes_of_them():
    found = split(np.ones(2), np.float64(1), np.arange(2))
    assert [s.dtype for s in found.positional] == [jnp.float32, jnp.float32, jnp.int32]


@pytest.mark.parametrize(
    "value", [True, 2.0, "text", None, np.array(["a"]), [1, 2], ()]
)
def test_a_positional_argument_without_arrays(value):
    text = r'positional argument "arg_1" is .* by keyword \(arg_1=\.\.\.\) to fix'
    with pytest.raises(ExportError, match=text):
        split(X, value)


def test_an_argument_with_arrays_and_something_else():
    text = """The argument "state" holds arrays, and at "state/n" '3', which is none"""
    with pytest.raises(ExportError, match=text):
        split(X, state={"a": X, "n": "3"})


def test_numbers_in_a_container_with_arrays_are_arrays():
    (found,) = split({"x": X, "n": 3, "b": True}).positional
    assert found["n"] == jax.ShapeDtypeStruct((), jnp.int32, weak_type=True)
    assert found["b"].dtype == jnp.bool_


def test_one_batch_for_all():
    found = inputs.open_sizes(
        split(X, {"m": X[:, 0]}, np.float32(0), rngs=jax.random.PRNGKey(0)),
        "batch, ...",
    )
    assert str(found.positional[0].shape) == "(batch, 8)"
    assert str(found.positional[1]["m"].shape) == "(batch,)"
    assert found.positional[2].shape == ()
    assert found.keyword["rngs"].shape == (2,)
    assert found.positional[0].shape[0] == found.positional[1]["m"].shape[0]


def test_a_key_has_no_batch():
    found = inputs.open_sizes(
        split(X, jax.random.split(jax.random.key(0), 3)), "b, ..."
    )
    assert found.positional[1].shape == (3,)


def test_sizes_by_argument():
    found = inputs.open_sizes(split(X, X, mask=X), {"arg_0": "b, t", "mask": None})
    shapes = [str(s.shape) for s in found.positional]
    assert shapes == ["(b, t)", "(4, 8)"]
    assert found.keyword["mask"].shape == (4, 8)


def test_without_open_sizes():
    example = split(X)
    assert inputs.open_sizes(example, None) == example


def test_sizes_that_are_symbolic_already_are_left():
    (size,) = jax_export.symbolic_shape("n")
    example = split(jax.ShapeDtypeStruct((size, 3), jnp.float32))
    assert inputs.open_sizes(example, "batch, ...") == example


def test_one_name_for_two_sizes():
    text = (
        r'"batch" is 4 in "arg_0" and 1 in "mask". One name .*'
        r'`shapes=\{"mask": \.\.\., \.\.\.\}`.*`shapes=None`'
    )
    with pytest.raises(ExportError, match=text):
        inputs.open_sizes(split(X, mask=X[:1]), "batch, ...")


def test_shapes_of_no_input():
    text = '`shapes` has "y", and the inputs are "arg_0", "mask"'
    with pytest.raises(ExportError, match=text):
        inputs.open_sizes(split(X, mask=X), {"y": "b, ..."})


@pytest.mark.parametrize("shapes", ["b, ", "b, c, d", "b, 9", "b c", {"arg_0": "?"}])
def test_shapes_that_do_not_fit(shapes):
    text = r'The shape \(4, 8\) of "arg_0" cannot be written as .*A shape is text such'
    with pytest.raises(ExportError, match=text):
        inputs.open_sizes(split(X), shapes)
