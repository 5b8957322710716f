"""The dtype whose gradients are joined by their maximum."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import lax
from jax import numpy as jnp

from batiste import linen as nn
from batiste.linen import fp8_ops
from batiste.linen.fp8_ops import accumulation, fm32

STATISTICS = "_overwrite_with_gradient"


def test_dtype():
    assert jnp.issubdtype(fm32, fp8_ops.fp8_meta_dtype)
    assert jnp.issubdtype(fm32, jax.dtypes.extended)
    assert not jnp.issubdtype(fm32, jnp.floating)
    assert fm32 == fp8_ops.fp32_max_grad
    assert hash(fm32) == hash(fp8_ops.fp8_meta_dtype_wrapper(jnp.dtype("float32")))
    narrow = fp8_ops.fp8_meta_dtype_wrapper(jnp.bfloat16)
    assert (str(fm32), repr(narrow), narrow.name) == ("fp8_meta32",) + 2 * (
        "fp8_meta16",
    )


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_there_and_back(wrap):
    numbers = jnp.arange(3.0)
    value = wrap(lambda x: lax.convert_element_type(x, fm32))(numbers)
    assert (value.dtype, value.shape) == (fm32, (3,))
    back = wrap(accumulation.as_float)(value)
    assert np.array_equal(back, numbers)
    zeros = wrap(lambda x: accumulation.as_float(jnp.zeros_like(x)))(value)
    assert np.array_equal(zeros, jnp.zeros(3))
    same = accumulation.as_float(accumulation.in_dtype_of(numbers, value))
    assert np.array_equal(same, numbers)
    assert accumulation.in_dtype_of(numbers, numbers) is numbers
    with pytest.raises(ValueError, match="convert"):
        lax.convert_element_type(value, jnp.bfloat16)


def test_larger_of_two():
    x, y = (jnp.array(v).astype(fm32) for v in ([1.0, 5.0], [2.0, 3.0]))
    found = accumulation.as_float(fp8_ops.Fp8MetaTyRules.add(fm32, x, y))
    assert found.tolist() == [2.0, 5.0]


@pytest.mark.parametrize(("dtype", "join"), [(fm32, max), (jnp.float32, sum)])
def test_statistics_that_are_used_twice(dtype, join):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(3, use_bias=False, dot_general_cls=nn.Fp8DotGeneral)
            return dense(dense(x))

    x = jnp.full((1, 3), 2.0)
    variables = {**Net().init(jax.random.key(0), x)}
    variables["params"] = jax.tree.map(jnp.ones_like, variables["params"])

    @jax.jit
    @jax.grad
    def grads(variables):
        kept = jax.tree.map(lambda a: a.astype(dtype), variables[STATISTICS])
        return Net().apply({**variables, STATISTICS: kept}, x).sum()

    kept = grads(variables)[STATISTICS]["Dense_0"]["Fp8DirectDotGeneralOp_0"]
    assert kept["input_amax_history"][0] == join([2.0, 6.0])
    assert kept["input_scale"][0] == join([1.0, 1.0])


@pytest.mark.parametrize("rule", ["in_qdq", "in_q"])
def test_rounding_takes_such_scales(rule):
    scale, history = (jnp.ones(n).astype(fm32) for n in (1, 2))
    args = jnp.float32, jnp.float8_e4m3fn, jnp.ones(2)
    found = jax.tree.leaves(getattr(fp8_ops, rule)(*args, scale, history))[0]
    expected = jax.tree.leaves(getattr(fp8_ops, rule)(*args, jnp.ones(1), jnp.ones(2)))[
        0
    ]
    assert np.array_equal(found, expected)


def test_importing_starts_no_device():
    code = (
        "import jax, batiste.linen.fp8_ops\n"
        "jax.config.update('jax_num_cpu_devices', 3)\n"
        "assert len(jax.devices('cpu')) == 3"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
