"""The stack of running modules as quantizers read it, and copies of Module's fields."""

import copy
import gc
import pickle

import jax
import jax.numpy as jnp
import pytest
from jax import lax


def test_a_quantized_product_knows_which_layer_calls_it(flax):
    nn = flax.linen
    seen = []

    def dot_general(*args, **kwargs):
        module = nn.module._context.module_stack[-1]
        seen.append((module.path, type(module).__name__, module.features))
        return lax.dot_general(*args, **kwargs)

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(3, dot_general=dot_general)(x)
            return nn.Dense(2, dot_general=dot_general, name="out")(x)

    model, x = Block(), jnp.ones((1, 4))
    variables = model.init(jax.random.key(0), x)
    expected = [(("Dense_0",), "Dense", 3), (("out",), "Dense", 2)]
    assert seen == expected
    seen.clear()
    jax.jit(model.apply)(variables, x)
    assert seen == expected


def test_a_pushed_none_hides_the_running_module(flax):
    nn, stack = flax.linen, flax.linen.module._context.module_stack

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            stack.append(None)
            try:
                free = nn.Dense(2)
            finally:
                assert stack.pop() is None
            assert free.parent is None
            assert stack[-1] is self
            return nn.Dense(2)(x)

    variables = Outer().init(jax.random.key(0), jnp.ones((1, 3)))
    assert list(variables["params"]) == ["Dense_0"]


def test_the_stack_is_a_list_whose_bottom_is_none(flax):
    stack = flax.linen.module._context.module_stack
    assert len(stack) == 1
    assert stack[:] == [None]
    assert stack[-1] is None
    assert repr(stack) == "[None]"
    layer = flax.linen.Dense(2)
    stack.append(layer)
    stack.insert(1, None)
    assert stack[:] == [None, None, layer]
    stack[1] = layer
    stack.insert(-1, None)
    assert stack[:] == [None, layer, None, layer]
    del stack[-1], stack[-1], stack[-1]
    assert stack[:] == [None]


@pytest.mark.parametrize("index", [0, -1, slice(None)])
def test_the_bottom_of_the_stack_stays(flax, index):
    stack = flax.linen.module._context.module_stack
    with pytest.raises(IndexError, match="one place above its bottom, which"):
        del stack[index]
    with pytest.raises(IndexError, match="it has 1 places"):
        stack[index] = None
    with pytest.raises(IndexError):
        stack.pop()


def test_the_sentinel_is_the_default_of_parent(flax):
    from flax.linen.module import _get_unspecified_parent, _Sentinel
    from flax.linen.module import _unspecified_parent as sentinel

    field = flax.linen.Dense.__dataclass_fields__["parent"]
    assert field.default is sentinel is _get_unspecified_parent()
    assert isinstance(sentinel, _Sentinel)
    for copied in (
        copy.copy(sentinel),
        copy.deepcopy(sentinel),
        pickle.loads(pickle.dumps(sentinel)),
    ):
        assert copied is sentinel
    assert flax.linen.Dense(2, parent=sentinel).parent is None


def test_a_parent_descriptor_keeps_no_module_alive(flax):
    class Helper:
        owner = flax.linen.module.ParentDescriptor()

    helper, layer = Helper(), flax.linen.Dense(2)
    assert Helper.owner is None
    with pytest.raises(AttributeError, match="'Helper' object has no parent yet"):
        _ = helper.owner
    helper.owner = layer
    assert helper.owner is layer
    del layer
    gc.collect()
    assert helper.owner is None
    helper.owner = scope = flax.core.Scope({})
    assert helper.owner is scope
