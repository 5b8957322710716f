"""The defaults that each generation sets, in what programs see."""

import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import batiste.flax
from batiste.core.errors import JaxTransformError
from batiste.flax.generations import FLAGS
from batiste.linen.errors import (
    MultipleMethodsCompactError,
    ReservedModuleAttributeError,
)

KEY = jax.random.key(0)
X = jnp.ones((4, 3))


@pytest.fixture(params=["0.6", "0.12"])
def generation(request):
    batiste.flax.install(request.param)
    yield request.param
    batiste.flax.uninstall()


def test_versions(generation):
    import importlib.metadata

    import flax

    expected = {"0.6": "0.6.9", "0.12": "0.12.8"}[generation]
    assert flax.__version__ == importlib.metadata.version("flax") == expected


def test_the_readme_has_a_row_for_each_flag_with_its_values():
    text = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (on|off)\b.* \| (on|off)\b.* \|$", text, re.M)
    table = {name: {"0.12": new, "0.6": old} for name, new, old in rows}
    assert table == {
        flag: {g: "on" if FLAGS[g][flag] else "off" for g in ("0.12", "0.6")}
        for flag in FLAGS["0.12"]
    }
    assert FLAGS["0.6"].keys() == FLAGS["0.12"].keys()


def test_types_of_variables(generation):
    import flax
    import flax.linen as nn

    variables = nn.BatchNorm(True).init(KEY, X)
    kind = {"0.6": flax.core.FrozenDict, "0.12": dict}[generation]
    assert type(variables) is kind
    _, changed = nn.BatchNorm(False).apply(variables, X, mutable=["batch_stats"])
    assert type(changed) is kind


def test_checkpoints(generation, tmp_path):
    from flax.training import checkpoints

    path = checkpoints.save_checkpoint(tmp_path, {"a": X}, 0)
    assert os.path.isdir(path) == (generation == "0.12")
    restored = checkpoints.restore_checkpoint(tmp_path, {"a": X})
    assert restored["a"].tolist() == X.tolist()


def test_early_stopping(generation):
    from flax.training.early_stopping import EarlyStopping

    result = EarlyStopping(patience=1).update(0.5)
    if generation == "0.6":
        improved, state = result
        assert improved is True
    else:
        state = result
    assert type(state) is EarlyStopping
    assert state.has_improved
    assert not state.should_stop
    assert jax.tree.map(lambda x: x, state) == state


def test_transforms_of_jax_around_modules(generation):
    import flax.linen as nn

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.Dense(2)
            return jax.vmap(lambda row: layer(row))(x)

    if generation == "0.6":
        with pytest.raises(JaxTransformError):
            Model().init(KEY, X)
    else:
        variables = Model().init(KEY, X)
        expected = nn.Dense(2).apply({"params": variables["params"]["Dense_0"]}, X)
        y = Model().apply(variables, X)
        assert jnp.allclose(y, expected)
        assert y.shape == (4, 2)


def test_several_compact_methods(generation):
    import flax.linen as nn

    def make():
        class Model(nn.Module):
            def __call__(self, x):
                return self.decode(self.encode(x))

            @nn.compact
            def encode(self, x):
                return nn.Dense(5, name="encoder")(x)

            @nn.compact
            def decode(self, x):
                return nn.Dense(3, name="decoder")(x)

        return Model()

    if generation == "0.6":
        with pytest.raises(MultipleMethodsCompactError):
            make()
    else:
        variables = make().init(KEY, X)
        assert sorted(variables["params"]) == ["decoder", "encoder"]
        assert make().apply(variables, X, method="encode").shape == (4, 5)


def test_fields_annotated_name(generation):
    import flax.linen as nn

    def make():
        class Model(nn.Module):
            features: int = 2
            name: str | None = None

        return Model(features=3, name="model")

    if generation == "0.6":
        with pytest.raises(ReservedModuleAttributeError):
            make()
    else:
        assert make().name == "model"
        assert make().features == 3


def test_a_stream_that_was_not_given(generation):
    import flax.linen as nn

    from batiste.core.errors import InvalidRngError

    model = nn.Dropout(0.5, deterministic=False)
    if generation == "0.6":
        with pytest.raises(InvalidRngError, match='stream "dropout"'):
            model.apply({}, X, rngs=KEY)
    else:
        assert jnp.allclose(
            model.apply({}, X, rngs=KEY), model.apply({}, X, rngs={"dropout": KEY})
        )


def test_keys_under_jit(generation):
    import flax.linen as nn

    class Model(nn.Module):
        jitted: bool

        @nn.compact
        def __call__(self, x):
            layer = nn.jit(nn.Dense) if self.jitted else nn.Dense
            return layer(2, name="layer")(x)

    plain, jitted = (Model(flag).init(KEY, X)["params"]["layer"] for flag in (0, 1))
    same = bool(jnp.allclose(plain["kernel"], jitted["kernel"]))
    assert same == (generation == "0.6")
