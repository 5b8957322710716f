"""The einsum layer."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste.linen.linear.einsum import Einsum

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (3, 7, 4))
normal = jax.nn.initializers.normal(1.0)


@pytest.mark.parametrize(
    ("equation", "shape", "bias", "broadcast"),
    [
        ("nta,hab->nthb", (2, 4, 5), (2, 5), (1, 1, 2, 5)),
        ("nta,hab->nbht", (2, 4, 5), (5, 2), (1, 5, 2, 1)),
        ("nta,hab->hb", (2, 4, 5), (2, 5), (2, 5)),
        ("nta,ab->nt", (4, 5), (), (1, 1)),
        ("nta,nab->ntb", (3, 4, 5), (3, 5), (3, 1, 5)),
        ("...a,ab->...b", (4, 5), (5,), (1, 1, 5)),
        ("...a,ab->b...", (4, 5), (5,), (5, 1, 1)),
        ("...a,...ab->...b", (7, 4, 5), (7, 5), (1, 7, 5)),
        (" nta , ab -> ntb ", (4, 5), (5,), (1, 1, 5)),
    ],
)
def test_einsum(equation, shape, bias, broadcast):
    y, variables = Einsum(shape, equation, bias_init=normal).init_with_output(KEY, X)
    params = variables["params"]
    assert params["bias"].shape == bias
    expected = jnp.einsum(equation.replace(" ", ""), X, params["kernel"])
    expected += params["bias"].reshape(broadcast)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_equation_at_call_time():
    layer = Einsum((4, 5), use_bias=False)
    y, variables = layer.init_with_output(KEY, X, einsum_str="nta,ab->ntb")
    assert y.shape == (3, 7, 5)
    assert set(variables["params"]) == {"kernel"}


def test_preferred_element_type_is_that_of_the_product():
    layer = Einsum((4, 5), "nta,ab->ntb", preferred_element_type=jnp.bfloat16)
    assert layer.init_with_output(KEY, X)[0].dtype == jnp.float32
    layer = layer.clone(use_bias=False)
    assert layer.init_with_output(KEY, X)[0].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Einsum((4, 5)), "`einsum_str` is given nowhere"),
        (
            Einsum((4, 5), "nta,ab"),
            "einsum_str='nta,ab' does not say what axes the output",
        ),
        (Einsum((4, 5), "nta->nt"), "einsum_str='nta->nt' is one of 1 operands"),
        (Einsum((4, 5), "a,b,c->a"), "is one of 3 operands, but the layer has two"),
        (Einsum((4, 5), "nta,abc->ntbc"), r"2 axes by its shape \(4, 5\), but 3 by"),
    ],
)
def test_errors(layer, message):
    with pytest.raises(ValueError, match=message):
        layer.init(KEY, X)


def test_equation_given_twice():
    with pytest.raises(ValueError, match="`einsum_str` is given twice"):
        Einsum((4, 5), "nta,ab->ntb").init(KEY, X, einsum_str="nta,ab->ntb")
