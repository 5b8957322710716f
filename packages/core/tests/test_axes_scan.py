"""Tests of batiste.core.axes_scan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import export

from batiste.core import axes_scan, broadcast


@settings(max_examples=8, deadline=None)
@given(st.integers(-2, 1), st.integers(-2, 1), st.booleans())
def test_axes(in_axis, out_axis, reverse):
    xs = jnp.arange(6.0).reshape(2, 3)
    loop = axes_scan.scan(
        lambda b, c, x: (b, c + x.sum(), x + c), (in_axis,), out_axis, reverse=reverse
    )
    _, total, ys = loop(None, 0.0, xs)
    carry, expected = 0.0, []
    slices = list(jnp.moveaxis(xs, in_axis, 0))
    for x in reversed(slices) if reverse else slices:
        expected.append(x + carry)
        carry = carry + x.sum()
    expected = expected[::-1] if reverse else expected
    assert total == carry
    np.testing.assert_array_equal(ys, jnp.moveaxis(jnp.stack(expected), 0, out_axis))


def test_broadcast():
    def body(b, c, x, table):
        made = b if isinstance(b, dict) else {"made": b + 1}
        return made, c + made["made"], (x * table, table.sum(), 7.0)

    loop = axes_scan.scan(body, (0, broadcast), (0, broadcast, broadcast))
    made, carry, (ys, total, seven) = loop(3.0, 0.0, jnp.arange(4.0), jnp.ones(2))
    assert ys.shape == (4, 2)
    assert total == 2
    assert seven == 7
    # The body gets, inside the loop, what it made beforehand.
    assert made == {"made": 4.0}
    assert carry == 16
    assert repr(broadcast) == "broadcast"


def test_what_is_broadcast_must_not_depend_on_the_loop():
    def body(b, c, x):
        return {"b": {"sum": c}}, c, (x, x)

    loop = axes_scan.scan(body, (0,), (0, broadcast))
    with pytest.raises(ValueError, match='the output "b/sum" and the output "0"'):
        loop(None, 0.0, jnp.ones(3))


def test_broadcast_values_have_derivatives():
    @jax.custom_jvp
    def odd(x):
        return x

    odd.defjvp(lambda p, t: (p[0], 100 * t[0]))

    def run(w):
        loop = axes_scan.scan(lambda b, c, x: (odd(w), c + x * w, x), (0,), 0)
        made, total, _ = loop(None, 0.0, jnp.ones(3))
        return made + total

    assert jax.grad(run)(2.0) == 103
    np.testing.assert_array_equal(jax.vmap(run)(jnp.ones(2)), [4, 4])


def test_without_the_check_nothing_is_traced_twice():
    traces = []

    def body(b, c, x):
        traces.append(b)
        return b, c, x

    args = (None, 0.0, jnp.ones(3))
    axes_scan.scan(body, (0,), 0, check_constancy_invariants=False)(*args)
    assert len(traces) == 1
    axes_scan.scan(body, (0,), 0)(*args)
    assert len(traces) == 3


def test_errors():
    def run(in_axes, *args, out_axes=0, length=None):
        loop = axes_scan.scan(lambda b, c, *x: (b, c, c), in_axes, out_axes, length)
        return loop(None, 0.0, *args)

    with pytest.raises(ValueError, match="needs length="):
        run((broadcast,), jnp.ones(3))
    with pytest.raises(ValueError, match=r"sizes are \[3, 4\]"):
        run((0,), jnp.ones(3), length=4)
    with pytest.raises(ValueError, match=r"axis 1 of an array of shape \(3,\)"):
        run((1,), jnp.ones(3))
    with pytest.raises(ValueError, match="in_axes of a scan, .* of the arguments"):
        run((0, 0, 0), jnp.ones(3))
    with pytest.raises(ValueError, match="out_axes of a scan, .* outputs of the body"):
        run((0,), jnp.ones(3), out_axes=(0, 0))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_loop_whose_first_iteration_is_peeled_is_the_same_loop(reverse):
    def body(b, carry, x, table):
        total = carry["total"] if carry else 0.0
        return b, {"total": total + x * table}, (total, 7.0)

    def loop():
        args = (jnp.arange(1.0, 5.0), 2.0)
        return axes_scan.Loop(
            (0, broadcast), (0, broadcast), args, None, reverse, 1, False
        )

    whole, peeled = loop(), loop()
    carry, ys = whole.run(body, None, {"total": 0.0}, [7.0])
    # The first iteration gives the carry its structure.
    first = peeled.peel(body, None, {})
    assert peeled.length == 3
    np.testing.assert_array_equal(first["total"], 8.0 if reverse else 2.0)
    peeled_carry, peeled_ys = peeled.run(body, None, first, [7.0])
    jax.tree.map(np.testing.assert_array_equal, (carry, ys), (peeled_carry, peeled_ys))
    assert ys[0].shape == (4,)
    assert ys[1] == 7.0


@pytest.mark.parametrize("length", [0, 3])
def test_a_probe_tells_what_is_made_before_the_loop_is_run(length):
    def body(b, carry, x):
        return {"made": b + 1}, {**carry, "new": x}, (x, carry["old"])

    loop = axes_scan.Loop(
        (0,), (0, broadcast), (jnp.ones((length, 2)),), None, False, 1, False
    )
    probe = loop.probe(body, 3.0, {"old": 1.0})
    assert [probe.name(place) for place in probe.unknown_outputs()] == ["1/0"]
    constant, _, carry_structure = probe.evaluate(probe.unknown_outputs())
    assert constant == {"made": 4.0}
    assert carry_structure == jax.tree.structure({"old": 0, "new": 0})


@pytest.mark.parametrize("axis", [0, 1])
def test_an_axis_of_open_size(axis):
    loop = jax.jit(axes_scan.scan(lambda b, c, x: (b, c + x, c * x), (axis,), axis))
    spec = jax.ShapeDtypeStruct(export.symbolic_shape("n, n"), jnp.float32)
    x = np.arange(9, dtype=np.float32).reshape(3, 3)
    carry = jax.ShapeDtypeStruct(spec.shape[:1], jnp.float32)
    _, *found = export.export(loop)(None, carry, spec).call(None, x[0], x)
    _, *expected = loop(None, x[0], x)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
