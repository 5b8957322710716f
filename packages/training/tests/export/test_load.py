"""Loading: the same bits, the same containers, and what does not fit."""

import json
import subprocess
import sys
import zipfile
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export as jax_export

from batiste.core import freeze, struct
from batiste.core.frozen_dict import FrozenDict
from batiste.training import export
from batiste.training.errors import ExportedCallError, ExportedFileError
from batiste.training.train_state import TrainState

RNG = np.random.RandomState(0)
W = {
    "params": freeze({"w": RNG.randn(2, 4).astype("f"), "b": RNG.randn(4).astype("f")})
}
X = RNG.randn(3, 2).astype("f")


class Output(NamedTuple):
    logits: Any
    hidden: Any


@struct.dataclass
class Carry:
    state: Any
    count: Any
    name: str = struct.field(pytree_node=False, default="carry")


def dense(variables, x, *, scale=None, train=False):
    params = variables["params"]
    y = jnp.tanh(x @ params["w"] + params["b"])
    if scale is not None:
        y = y * scale
    return Output(y, freeze({"pre": y, "train": jnp.full((), train)}))


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def saved(path, call=dense, variables=W, *args, **kwargs):
    export.save(path / "m.zip", call, variables, *(args or (X,)), **kwargs)
    return path / "m.zip"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("export")
    return saved(path, dense, W, X, scale=np.float32(1), train=False)


@pytest.fixture(scope="module")
def model(file):
    return export.load(file)


def test_the_same_bits_with_another_batch(model):
    x, scale = RNG.randn(7, 2).astype("f"), np.float32(0.3)
    found = model(x, scale=scale)
    expected = jax.jit(dense)(W, x, scale=scale)
    assert type(found) is tuple
    assert type(found[1]) is dict
    assert bits(found) == bits(expected)


def test_what_a_model_tells_of_itself(model):
    assert repr(model) == (
        "ExportedModel dense(x: float32[batch, 2], *, scale: float32[], train=False) "
        '-> ["float32[batch, 4]", {"pre": "float32[batch, 4]", "train": "bool[]"}]'
    )
    assert list(model.inputs) == ["x", "scale"]
    assert str(model.inputs["x"].shape) == "(batch, 2)"
    assert model.outputs[1]["train"].dtype == jnp.bool_
    assert model.metadata["model"] == "dense"
    assert model.program.platforms == ("cpu",)
    assert bits(model.weights) == bits(W)


def test_its_variables(model):
    assert type(model.variables["params"]) is dict
    assert bits(model.variables) == bits(W)
    expected = dense(W, X, scale=1)
    again = dense(model.variables, X, scale=1)
    assert bits(again.logits) == bits(expected.logits)


def test_results_in_their_own_containers(file):
    like = jax.eval_shape(dense, W, X, scale=1)
    found = export.load(file, like=like)(X, scale=1)
    assert isinstance(found, Output)
    assert isinstance(found.hidden, FrozenDict)
    assert bits(found) == bits(jax.jit(dense)(W, X, scale=1))


def test_another_structure_than_the_results(file):
    text = (
        'Cannot load .*: "like" is a list, and takes a tuple: the results are '
        r'\["float32\[batch, 4\]", '
    )
    with pytest.raises(ExportedFileError, match=text):
        export.load(file, like=[1, 2])


def test_a_train_state_in_and_out(tmp_path):
    state = TrainState.create(
        apply_fn=None, params=freeze({"w": jnp.ones(2)}), tx=optax.adam(0.1)
    )

    def step(variables, state, carry, *, x):
        grads = jax.grad(lambda p: ((p["w"] * x) ** 2).mean())(state.params)
        return state.apply_gradients(grads=grads), carry.replace(count=carry.count + 1)

    carry = Carry(state={"z": X, "a": X[:, 0]}, count=np.int32(3))
    path = saved(tmp_path, step, {}, state, carry, x=X, shapes=None)
    like = (state, carry)
    found, new_carry = export.load(path, like=like)(state, carry, x=X)
    assert isinstance(found, TrainState)
    assert isinstance(new_carry, Carry)
    assert int(new_carry.count) == 4
    assert new_carry.name == "carry"
    expected = jax.jit(step)({}, state, carry, x=X)
    assert bits((found, new_carry)) == bits(expected)
    plain = export.load(path)
    again = plain(plain(state, carry, x=X)[0], plain(state, carry, x=X)[1], x=X)
    assert set(again[0]) == {"step", "params", "opt_state"}
    assert int(again[1]["count"]) == 5


def test_keys_are_inputs_and_weights(tmp_path):
    variables = {"key": jax.random.key(1), "w": jnp.ones(2)}

    def call(variables, x, *, rngs):
        noise = jax.random.normal(rngs["dropout"], x.shape)
        return x + noise + jax.random.normal(variables["key"], (2,)) * variables["w"]

    key = jax.random.key(5)
    model = export.load(saved(tmp_path, call, variables, X, rngs={"dropout": key}))
    found = model(X, rngs={"dropout": key})
    assert bits(found) == bits(jax.jit(call)(variables, X, rngs={"dropout": key}))
    assert model.variables["key"] == variables["key"]
    text = r'argument "rngs/dropout" is uint32\[2\], and takes key<fry>\[\]'
    with pytest.raises(ExportedCallError, match=text):
        model(X, rngs={"dropout": jax.random.PRNGKey(5)})


@pytest.mark.parametrize(
    "dtype", [jnp.bfloat16, jnp.float16, jnp.int8, jnp.float8_e5m2]
)
def test_dtypes(tmp_path, dtype):
    variables = {"w": jnp.arange(2).astype(dtype)}

    def call(variables, x):
        return x.astype(dtype) * variables["w"]

    model = export.load(saved(tmp_path, call, variables))
    assert model.weights[0].dtype == dtype
    assert bits(model(X)) == bits(jax.jit(call)(variables, X))


def test_no_weights_no_inputs_no_results(tmp_path):
    path = tmp_path / "m.zip"
    export.save(path, lambda variables: None, {})
    model = export.load(path)
    assert repr(model) == "ExportedModel <lambda>() -> null"
    assert model() is None
    assert model.variables == {}


def test_gradients(tmp_path):
    def loss(variables, x):
        return jnp.sum(jnp.tanh(x @ variables["params"]["w"]))

    path = saved(tmp_path, loss, W, X, vjp_order=2)
    model = export.load(path)
    expected = jax.grad(loss, argnums=1)(W, X)
    np.testing.assert_allclose(jax.grad(model)(X), expected, rtol=1e-6)
    by_weight = jax.grad(lambda w: model.program.call(w, X))(model.weights)
    expected = jax.grad(loss)(W, X)["params"]["w"]
    np.testing.assert_allclose(by_weight[1], expected, rtol=1e-6)
    second = jax.grad(lambda x: jax.grad(model)(x).sum())(X)
    expected = jax.grad(lambda x: jax.grad(loss, argnums=1)(W, x).sum())(X)
    np.testing.assert_allclose(second, expected, rtol=1e-5)


def test_no_gradient_without_vjp_order(tmp_path):
    model = export.load(saved(tmp_path, lambda variables, x: x.sum(), W))
    with pytest.raises(ValueError, match="VJP"):
        jax.grad(model)(X)


def test_under_jit(model):
    found = jax.jit(lambda x: model(x, scale=2.0)[0])(X)
    np.testing.assert_allclose(found, model(X, scale=2.0)[0], rtol=1e-6)


def test_numbers_for_arrays_without_axes(model):
    for number in (2, 2.0, np.float64(2), jnp.float32(2)):
        assert bits(model(X, scale=number)) == bits(model(X, scale=np.float32(2)))


def test_fixed_arguments_may_be_repeated(model):
    assert bits(model(X, scale=1.0, train=False)) == bits(model(x=X, scale=1.0))


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((X, X), {"scale": 1.0}, "2 positional arguments .* takes 1"),
        ((X,), {"x": X, "scale": 1.0}, '"x" was given twice'),
        ((X,), {}, '"scale" must be given. ExportedModel dense'),
        ((), {}, '"x", "scale" must be given'),
        ((X,), {"scael": 1.0}, 'no argument "scael".*did you mean "scale"'),
        (
            (X,),
            {"scale": 1.0, "train": True},
            '"train" was fixed .* as False, and .* be True',
        ),
        (
            ({"a": X},),
            {"scale": 1.0},
            r'"x" is a dict, and takes an array: float32\[batch',
        ),
        (([[1.0, 2.0]],), {"scale": 1.0}, 'argument "x" is a list, and takes an array'),
        ((None,), {"scale": 1.0}, 'argument "x" is None, and takes an array'),
        (("a",), {"scale": 1.0}, "argument \"x\" is 'a', and takes float32"),
        (
            (X[0],),
            {"scale": 1.0},
            r'"x" is float32\[2\], and takes float32\[batch, 2\]',
        ),
        ((X[:, :1],), {"scale": 1.0}, r'"x" is float32\[3, 1\], and takes'),
        ((X.astype(int),), {"scale": 1.0}, r'"x" is int32\[3, 2\], and takes'),
        ((X,), {"scale": X}, r'"scale" is float32\[3, 2\], and takes float32\[\]'),
    ],
)
def test_calls_that_do_not_fit(model, args, kwargs, text):
    with pytest.raises(ExportedCallError, match=text):
        model(*args, **kwargs)


def test_numbers_of_another_kind(tmp_path):
    model = export.load(saved(tmp_path, lambda v, n: n + 1, {}, np.int32(0)))
    assert int(model(3)) == 4
    with pytest.raises(ExportedCallError, match=r'"n" is float32\[\], and takes int32'):
        model(3.0)


def test_a_fixed_function_cannot_be_repeated(tmp_path):
    model = export.load(saved(tmp_path, lambda v, x, *, f: f(x), {}, X, f=jnp.tanh))
    assert "f=" in repr(model)
    with pytest.raises(ExportedCallError, match='"f" was fixed'):
        model(X, f=jnp.tanh)


def test_two_batches_that_differ(tmp_path):
    model = export.load(saved(tmp_path, lambda v, x, y: x.sum() + y.sum(), {}, X, X))
    with pytest.raises(
        ExportedCallError, match="<lambda> from .*batch.*exported for cpu"
    ):
        model(X, X[:1])


def test_another_platform(tmp_path):
    model = export.load(saved(tmp_path, dense, W, X, platforms=["tpu"]))
    text = "exported for .*tpu.*used on .*cpu.* It was exported for tpu by JAX"
    with pytest.raises(ExportedCallError, match=text):
        model(X)


def changed(file, tmp_path, change):
    """A copy whose description or parts are others."""
    with zipfile.ZipFile(file) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    metadata = json.loads(parts["metadata.json"])
    change(metadata, parts)
    parts["metadata.json"] = json.dumps(metadata).encode()
    with zipfile.ZipFile(tmp_path / "changed", "w") as new:
        for name, data in parts.items():
            new.writestr(name, data)
    return tmp_path / "changed"


def test_a_calling_convention_that_is_too_new(file, tmp_path):
    highest = jax_export.maximum_supported_calling_convention_version

    def change(metadata, parts):
        metadata["calling_convention_version"] = highest + 1
        metadata["versions"]["jax"] = "99.0"

    text = (
        f"its program follows version {highest + 1} of JAX's calling convention, as "
        f"JAX 99.0 wrote it, and JAX .* runs .* to {highest}. Upgrade JAX, to 99.0"
    )
    with pytest.raises(ExportedFileError, match=text):
        export.load(changed(file, tmp_path, change))


def test_a_calling_convention_that_is_too_old(file, tmp_path):
    def change(metadata, parts):
        metadata["calling_convention_version"] = 1

    with pytest.raises(ExportedFileError, match=r"Load it with JAX .*, or export"):
        export.load(changed(file, tmp_path, change))


@pytest.mark.parametrize("program", [b"", b"no program", bytes(1000)])
def test_a_program_that_jax_cannot_read(file, tmp_path, program):
    def change(metadata, parts):
        parts["program"] = program

    with pytest.raises(ExportedFileError, match="cannot read its program, which JAX"):
        export.load(changed(file, tmp_path, change))


@pytest.mark.parametrize(
    "change",
    [
        lambda metadata, parts: metadata.pop("positional"),
        lambda metadata, parts: metadata.pop("versions"),
        lambda metadata, parts: metadata.update(positional={}),
        lambda metadata, parts: metadata.update(keyword={"other": 1}),
        lambda metadata, parts: metadata.update(positional=3),
        lambda metadata, parts: parts.pop("weights/1.npy"),
        lambda metadata, parts: parts.update({"weights/1.npy": parts["weights/0.npy"]}),
        lambda metadata, parts: parts.update({"weights/2.npy": parts["weights/0.npy"]}),
    ],
)
def test_parts_that_do_not_fit_each_other(file, tmp_path, change):
    with pytest.raises(ExportedFileError, match="do not fit each other"):
        export.load(changed(file, tmp_path, change))


CHILD = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("batiste", "flax"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())
{recipe}
"""


def recipe():
    """The lines that the module's docstring shows."""
    text = export.__doc__.partition("are enough:\n\n")[2]
    return "\n".join(
        line.removeprefix("    ")
        for line in text.splitlines()
        if line.startswith("    ")
    )


def in_a_process_without_batiste(tmp_path, path, x, after=""):
    lines = recipe().replace('"model.zip"', repr(str(path)))
    before = f"import numpy; x = numpy.load({str(tmp_path / 'x.npy')!r})\n"
    np.save(tmp_path / "x.npy", x)
    end = f"\nnp.save({str(tmp_path / 'y.npy')!r}, np.asarray(y).view('uint8'))"
    code = CHILD.format(recipe=before + lines + after + end)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.load(tmp_path / "y.npy")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_five_lines_without_batiste(tmp_path, dtype):
    variables = jax.tree.map(lambda w: jnp.asarray(w, dtype), W)

    def call(variables, x):
        params = variables["params"]
        return jax.nn.softmax(x.astype(dtype) @ params["w"] + params["b"])

    path = saved(tmp_path, call, variables)
    x = RNG.randn(5, 2).astype("f")
    found = in_a_process_without_batiste(tmp_path, path, x)
    assert found.tobytes() == np.asarray(jax.jit(call)(variables, x)).tobytes()


def test_64_bits(tmp_path):
    lines = f"""
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
from batiste.training import export
w = np.ones(2)
export.save({str(tmp_path / "m.zip")!r}, lambda w, x: w * x, w, np.ones((3, 2)))
print(export.load({str(tmp_path / "m.zip")!r})(np.ones((1, 2))).dtype)
"""
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert done.stdout.strip() == "float64", done.stderr
    text = r'64 bits, such as float64\[2\].*jax.config.update\("jax_enable_x64", True\)'
    with pytest.raises(ExportedFileError, match=text):
        export.load(tmp_path / "m.zip")
