"""Models that were exported, run where there is no Batiste: the same bits.

`packages/training/tests/export` is about the file and its errors.
"""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import batiste.linen as nn
from batiste.core.frozen_dict import FrozenDict
from batiste.training import export
from batiste.training.errors import ExportError

RNG = np.random.RandomState(0)


def drawn(*shape):
    return RNG.randn(*shape).astype(np.float32)


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(nn.relu(nn.Dense(32)(x)))


class Conv(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(8, (3, 3))(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.max_pool(x, (2, 2), (2, 2)).reshape(x.shape[0], -1)
        return nn.Dense(10)(nn.Dropout(0.5, deterministic=not train)(x))


class Block(nn.Module):
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x, mask=None, deterministic=True):
        h = nn.LayerNorm(dtype=self.dtype)(x)
        attention = nn.MultiHeadDotProductAttention(
            2, dtype=self.dtype, dropout_rate=0.1, deterministic=deterministic
        )
        x = x + attention(h, h, mask=mask)
        h = nn.gelu(nn.Dense(32, dtype=self.dtype)(x))
        h = nn.Dropout(0.1, deterministic=deterministic)(h)
        return x + nn.Dense(x.shape[-1], dtype=self.dtype)(h)


class Transformer(nn.Module):
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, tokens, deterministic=True):
        x = nn.Embed(50, 16, dtype=self.dtype)(tokens)
        mask = nn.make_causal_mask(tokens)
        for _ in range(2):
            x = Block(self.dtype)(x, mask, deterministic)
        return nn.Dense(50, dtype=self.dtype)(x)


class Step(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return Block()(x), None


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, x):
        scan = nn.scan(
            Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=3
        )
        return scan()(x, None)[0]


class Recurrent(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(5)(nn.RNN(nn.LSTMCell(16))(x))


TOKENS = RNG.randint(0, 50, (4, 8)).astype(np.int32)
MODELS = {
    "mlp": (MLP(), drawn(4, 20), {}),
    "conv": (Conv(), drawn(4, 8, 8, 1), {"train": False}),
    "transformer": (Transformer(), TOKENS, {"deterministic": True}),
    "bfloat16": (Transformer(jnp.bfloat16), TOKENS, {}),
    "scanned": (Scanned(), drawn(4, 8, 16), {}),
    "recurrent": (Recurrent(), drawn(4, 6, 3), {}),
}

CHILD = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("batiste", "flax"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())
import numpy as np
from jax import export

for name in sys.argv[1:]:
    file = np.load(f"{name}.zip")
    program = export.deserialize(bytearray(file["program"]))
    stored = [file[name] for name in file.files if name.startswith("weights/")]
    weights = [w.view(a.dtype) for w, a in zip(stored, program.in_avals)]
    y = program.call(weights, np.load(f"{name}.npy"))
    np.save(f"{name}.result.npy", np.asarray(y).view(np.uint8))
"""


def test_the_same_bits_where_there_is_only_jax(tmp_path):
    expected = {}
    for name, (model, x, kwargs) in MODELS.items():
        variables = model.init(jax.random.key(0), x)
        if name == "bfloat16":
            variables = jax.tree.map(lambda w: w.astype(jnp.bfloat16), variables)
        path = tmp_path / f"{name}.zip"
        export.save(path, model, variables, x, platforms=["cpu", "cuda"], **kwargs)
        x = np.concatenate([x, x[:2]])
        np.save(tmp_path / f"{name}.npy", x)
        apply = jax.jit(functools.partial(model.apply, **kwargs))
        expected[name] = np.asarray(apply(variables, x)).tobytes()
        assert np.asarray(export.load(path)(x)).tobytes() == expected[name]
    command = [sys.executable, "-c", CHILD, *MODELS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in MODELS:
        assert np.load(tmp_path / f"{name}.result.npy").tobytes() == expected[name]


def test_a_training_pass_with_dropout_and_statistics(tmp_path):
    model, x, _ = MODELS["conv"]
    variables = model.init(jax.random.key(0), x)
    rngs = {"dropout": jax.random.key(1)}
    path = tmp_path / "m.zip"
    export.save(
        path, model, variables, x, train=True, rngs=rngs, mutable=["batch_stats"]
    )
    apply = functools.partial(model.apply, train=True, mutable=["batch_stats"])
    expected = jax.jit(apply)(variables, x, rngs=rngs)
    plain = export.load(path)(x, rngs=rngs)
    assert type(plain[1]) is dict
    found = export.load(path, like=jax.eval_shape(apply, variables, x, rngs=rngs))
    again = found(x, rngs=rngs)
    assert isinstance(again[1], FrozenDict)
    for a, b, c in zip(*map(jax.tree.leaves, (plain, again, expected)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(c).tobytes()
        assert np.asarray(b).tobytes() == np.asarray(c).tobytes()


def test_methods_and_names_of_arguments(tmp_path):
    class Coder(nn.Module):
        def setup(self):
            self.layer = nn.Dense(3)

        def __call__(self, x):
            return self.layer(x)

        def encode(self, image, scale):
            return self.layer(image) * scale

    variables = Coder().init(jax.random.key(0), drawn(2, 4))
    image, scale = drawn(2, 4), drawn(2, 1)
    for method in ("encode", Coder.encode):
        path = tmp_path / "m.zip"
        export.save(path, Coder(), variables, image, scale, method=method)
        model = export.load(path)
        assert list(model.inputs) == ["image", "scale"]
        found = model(image, scale=scale)
        expected = Coder().apply(variables, image, scale, method=method)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_partitioned_variables(tmp_path):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
            return nn.Dense(4, kernel_init=init)(x)

    x = drawn(2, 3)
    variables = Model().init(jax.random.key(0), x)
    export.save(tmp_path / "m.zip", Model(), variables, x)
    model = export.load(tmp_path / "m.zip")
    assert set(model.variables["params"]["Dense_0"]) == {"kernel", "bias"}
    expected = jax.jit(Model().apply)(variables, x)
    assert np.asarray(model(x)).tobytes() == np.asarray(expected).tobytes()


def test_training_without_keys_is_the_modules_own_error(tmp_path):
    model, x, _ = MODELS["conv"]
    variables = model.init(jax.random.key(0), x)
    with pytest.raises(Exception, match="dropout") as found:
        export.save(tmp_path / "m.zip", model, variables, x, train=True, mutable=True)
    assert not isinstance(found.value, ExportError)


SHARDED = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh
import batiste.linen as nn
from batiste.training import export

class Split(nn.Module):
    @nn.compact
    def __call__(self, x):
        init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
        x = nn.Dense(8, kernel_init=init)(x)
        x = nn.with_logical_constraint(x, ("rows", "wide"))
        init = nn.with_logical_partitioning(nn.initializers.ones, ("wide", None))
        return nn.Dense(4, kernel_init=init)(nn.relu(x))

x = np.random.default_rng(0).standard_normal((8, 6)).astype("float32")
mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))
with mesh, nn.logical_axis_rules((("rows", "data"), ("wide", "model"))):
    variables = Split().init(jax.random.key(0), x)
    variables = jax.device_put(
        variables, nn.logical_to_mesh_sharding(nn.get_partition_spec(variables), mesh)
    )
    export.save("split.zip", Split(), variables, x)
    np.save("y.npy", jax.jit(Split().apply)(variables, x))
np.save("x.npy", x)
"""
WITHOUT_BATISTE = """
import sys
import jax, numpy as np
from batiste.training import export
model = export.load("split.zip")
assert "batiste.linen" not in sys.modules
assert len(model(np.load("x.npy")).sharding.device_set) == 8
print([str(w.sharding.spec) for w in model.weights if w.ndim == 2])
np.testing.assert_array_equal(model(np.load("x.npy")), np.load("y.npy"))
print(list(model.mesh.shape.items()), jax.tree.structure(model.variables))
"""


def test_boxes_and_logical_constraints_become_a_program_for_many(tmp_path):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    texts = []
    for code in (SHARDED, WITHOUT_BATISTE):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu", **flags},
        )
        assert done.returncode == 0, done.stderr
        texts.append(done.stdout)
    assert "'model'" in texts[1].splitlines()[0]
    assert texts[1].splitlines()[1].startswith("[('data', 4), ('model', 2)]")
