"""PRNG streams that start anew for a lifted call."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core.config import config
from batiste.linen.transforms.folding import FoldedRngs

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def folding():
    with (
        config.temp_flip_flag("jit_folds_rngs", True),
        config.temp_flip_flag("documented_checks", False),
    ):
        yield


class Draw(nn.Module):
    def __call__(self):
        return jax.random.bits(self.make_rng("noise"))


class Model(nn.Module):
    transform: str
    inside: str

    def setup(self):
        self.net = Draw()

    def __call__(self):
        used = {"closure": lambda _: self.net(), "argument": lambda net: net()}
        transform = getattr(nn, self.transform)
        return transform(used[self.inside])(self.net), self.net()


@pytest.mark.parametrize("transform", ["fold_rngs", "jit"])
def test_a_module_that_is_closed_over_draws_from_the_new_stream_and_on(transform):
    by_argument = Model(transform, "argument").apply({}, rngs={"noise": KEY})
    by_closure = Model(transform, "closure").apply({}, rngs={"noise": KEY})
    plain = Model("remat", "closure").apply({}, rngs={"noise": KEY})
    assert by_closure[0] != plain[0]
    assert by_closure == by_argument
    assert by_closure[0] != by_closure[1]


def test_submodules_that_there_are_keep_their_streams():
    class Outer(nn.Module):
        def setup(self):
            self.net = Draw()

        def __call__(self, lent):
            assert self.scope is not None
            stream = self.scope.rngs["noise"]
            before = self.scope.push("known", reuse=True)
            self.net.name  # noqa: B018 (it is set up)
            folded = FoldedRngs([self.scope], self)
            if lent:
                folded.lend()
            assert self.net.scope is not None
            key = self.net.scope.rngs["noise"].as_jax_rng()
            folded.give_back()
            assert self.scope.rngs["noise"] is stream
            assert before is not None
            return jax.random.key_data(key)

    keys = [Outer().apply({}, lent, rngs={"noise": KEY}) for lent in (False, True)]
    np.testing.assert_array_equal(*keys)


def test_an_error_inside_gives_the_streams_back():
    class Fails(nn.Module):
        transform: str

        @nn.compact
        def __call__(self):
            def fail(module):
                raise RuntimeError("inside")

            assert self.scope is not None
            stream = self.scope.rngs["noise"]
            with pytest.raises(RuntimeError, match="inside"):
                getattr(nn, self.transform)(fail)(self)
            assert self.scope.rngs["noise"] is stream
            return jnp.ones(1)

    for transform in ("jit", "fold_rngs"):
        Fails(transform).apply({}, rngs={"noise": KEY})
