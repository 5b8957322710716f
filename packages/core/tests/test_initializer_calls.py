"""Tests of batiste.core.initializer_calls."""

import functools
import gc
import subprocess
import sys
import warnings
import weakref

import jax
import jax.experimental
import numpy as np
import pytest
from jax import numpy as jnp
from jax.nn import initializers

from batiste.core import initializer_calls
from batiste.core.initializer_calls import ignores_key, initialize

KEY = jax.random.key(3)
INITIALIZERS = {
    "zeros": initializers.zeros,
    "ones": initializers.ones,
    "constant": initializers.constant(np.float32(0.3)),
    "uniform": initializers.uniform(0.05),
    "normal": initializers.normal(0.02),
    "truncated normal": initializers.truncated_normal(0.02),
    "truncated elsewhere": initializers.truncated_normal(0.02, lower=-1.3, upper=2.7),
    "lecun normal": initializers.lecun_normal(),
    "lecun uniform": initializers.lecun_uniform(),
    "he normal": initializers.he_normal(),
    "glorot uniform": initializers.glorot_uniform(),
    "embedding": initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0),
    "geometric": initializers.variance_scaling(2.0, "fan_geo_avg", "uniform"),
    "orthogonal": initializers.orthogonal(),
}
DTYPES = ["float32", jnp.bfloat16, np.dtype("float16"), jnp.complex64]


def outcome(fn, *args):
    """What came out to the bit, or the error."""
    try:
        value = fn(*args)
    except Exception as error:
        return type(error), str(error)
    return value.aval, value.weak_type, value.committed, np.asarray(value).tobytes()


def counting(fn):
    def count(*args, **kwargs):
        count.calls += 1
        return fn(*args, **kwargs)

    count.calls = 0
    return count


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", INITIALIZERS)
def test_values_are_the_same_to_the_bit(name, dtype):
    init_fn = INITIALIZERS[name]
    expected = outcome(init_fn, KEY, (17, 5), dtype)
    for _ in range(2):
        assert outcome(initialize, init_fn, KEY, (17, 5), dtype) == expected


@pytest.mark.parametrize("dtype", ["float32", jnp.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["zeros", "normal", "lecun normal", "glorot uniform"])
def test_values_within_programs_are_the_same_to_the_bit(name, dtype):
    init_fn = INITIALIZERS[name]

    def plainly(key):
        return init_fn(key, (17, 5), dtype)

    def kept(key):
        return initialize(init_fn, key, (17, 5), dtype)

    keys = jax.random.split(KEY, 2)
    assert outcome(jax.jit(kept), KEY) == outcome(jax.jit(plainly), KEY)
    assert outcome(jax.vmap(kept), keys) == outcome(jax.vmap(plainly), keys)
    staged = [jax.jit(jax.vmap(fn)) for fn in (kept, plainly)]
    assert outcome(staged[0], keys) == outcome(staged[1], keys)


@pytest.mark.parametrize("name", ["zeros", "normal", "lecun normal", "orthogonal"])
@pytest.mark.parametrize(
    "shape",
    # Two steps in one program gave other bits for small matrices, with JAX 0.12.
    [(), (4,), (0, 3), (4, 3), (8, 3), (8, 4), (2, 3, 4), (2, -1)],
    ids=str,
)
def test_other_shapes_and_no_dtype(name, shape):
    init_fn = INITIALIZERS[name]
    for _ in range(2):
        assert outcome(initialize, init_fn, KEY, shape) == outcome(init_fn, KEY, shape)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *[(name, (17, 5)) for name in INITIALIZERS],
        *[(name, shape) for name in ("zeros", "normal") for shape in ((), (0, 3))],
    ],
)
def test_a_call_within_a_program_leaves_the_equations_that_it_always_leaves(
    name, shape
):
    """As one equation it changed what XLA rounds around it, as within `remat`."""
    init_fn = INITIALIZERS[name]

    def program(call):
        # JAX traces a function once, so that each is to be another.
        return str(jax.make_jaxpr(lambda key: call(key, shape, "float32"))(KEY))

    for _ in range(2):
        assert program(lambda *args: initialize(init_fn, *args)) == program(init_fn)


def test_eager_calls_trace_once(monkeypatch):
    traced = counting(jax.make_jaxpr)
    monkeypatch.setattr(jax, "make_jaxpr", traced)
    monkeypatch.setattr(initializer_calls, "_kept", {})
    for _ in range(3):
        initialize(initializers.normal(0.125), KEY, (3, 2), "float32")
    assert traced.calls == 1
    initialize(initializers.normal(0.125), jax.random.PRNGKey(0), (3, 2), "float32")
    assert traced.calls == 2


@pytest.mark.parametrize("value", [0.0, -0.0, 1, 1.0, True], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_numbers_that_are_equal_are_not_taken_for_each_other(value, dtype):
    for other in (0.0, -0.0, 1, 1.0, True):
        initialize(initializers.constant(other), KEY, (2,), dtype)
    init_fn = initializers.constant(value)
    expected = outcome(init_fn, KEY, (2,), dtype)
    assert outcome(initialize, init_fn, KEY, (2,), dtype) == expected


def test_shapes_that_are_equal_are_not_taken_for_each_other():
    initialize(initializers.ones, KEY, (2, 1), "float32")
    for shape in [(2.0, 1), (np.int64(2), 1), [2, 1], 2, "ab"]:
        expected = outcome(initializers.ones, KEY, shape, "float32")
        assert outcome(initialize, initializers.ones, KEY, shape, "float32") == expected


def test_every_call_makes_an_array_of_its_own():
    init = functools.partial(initialize, initializers.zeros, KEY, (64,), "float32")
    first, second = init(), init()
    assert first.unsafe_buffer_pointer() != second.unsafe_buffer_pointer()


def test_a_key_that_is_not_read_does_not_decide_on_the_device():
    key = jax.device_put(KEY, jax.devices()[0])
    assert initialize(initializers.normal(), key, (2,), "float32").committed
    assert not initialize(initializers.ones, key, (2,), "float32").committed


@pytest.mark.parametrize(
    "init_fn",
    [
        counting(lambda key, shape, dtype: jnp.zeros(shape, dtype)),
        functools.wraps(initializers.zeros)(counting(initializers.zeros)),
        functools.partial(counting(initializers.zeros)),
    ],
    ids=["own", "wrapped", "partial"],
)
def test_functions_that_may_do_more_are_called_each_time(init_fn):
    count = getattr(init_fn, "func", init_fn)
    count.calls = 0
    for _ in range(3):
        initialize(init_fn, KEY, (2,), jnp.float32)
        jax.make_jaxpr(lambda key: initialize(init_fn, key, (2,), jnp.float32))(KEY)
    assert count.calls == 6


def test_functions_of_users_are_not_kept_alive():
    held = np.ones(3)

    def init_fn(key, shape):
        return jnp.zeros(shape) + held

    initialize(init_fn, KEY, (3,))
    ref = weakref.ref(init_fn)
    del init_fn
    gc.collect()
    assert ref() is None


def test_values_from_outside_of_the_initializer_are_looked_at_each_time():
    values = [initializers.constant(jnp.float32(n)) for n in range(2)]
    made = [initialize(init_fn, KEY, (1,), "float32").item() for init_fn in values]
    assert made == [0, 1]

    @jax.jit
    def traced(value):
        return initialize(initializers.constant(value), KEY, (1,), "float32")

    assert [traced(n).item() for n in (5.0, 6.0)] == [5, 6]
    axes = [-2]
    init_fn = initializers.variance_scaling(1.0, "fan_in", "uniform", in_axis=axes)
    before = initialize(init_fn, KEY, (2, 3), "float32")
    axes[0] = -1
    assert outcome(initialize, init_fn, KEY, (2, 3), "float32") == outcome(
        init_fn, KEY, (2, 3), "float32"
    )
    assert before.shape == (2, 3)


def test_more_arguments_and_other_keys():
    zeros = initializers.zeros
    assert initialize(zeros, KEY, (2,), "float32", None).shape == (2,)
    assert initialize(zeros, None, (2,), "float32").shape == (2,)
    assert initialize(zeros, np.ones(2, np.uint32), (2,), "float32").shape == (2,)
    for args in [(), ((2,), {}), ((2,), "float33")]:
        assert outcome(initialize, zeros, KEY, *args) == outcome(zeros, KEY, *args)
    keys = jax.random.split(KEY)
    normal = initializers.normal()
    assert outcome(initialize, normal, keys, (2,)) == outcome(normal, keys, (2,))


def test_what_makes_initializers_is_none():
    made = initialize(initializers.lecun_normal, KEY, (2,), "float32")
    assert callable(made)

    def staged(key):
        return callable(initialize(initializers.lecun_normal, key, (2,), "float32"))

    assert jax.jit(staged)(KEY)


def test_a_dtype_that_jax_has_not_is_warned_of_at_each_call():
    def warned(fn):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fn()
        return [str(each.message) for each in caught]

    def calls(function):
        # JAX traces a function once, so that each is to be another.
        yield warned(lambda: function(KEY))
        yield warned(lambda: jax.make_jaxpr(lambda key: function(key))(KEY))

    def kept(key):
        return initialize(initializers.normal(), key, (2,), np.float64)

    def plain(key):
        return initializers.normal()(key, (2,), np.float64)

    expected = list(calls(plain))
    # JAX 0.7 says nothing, and neither does what is kept.
    assert all("float64" in text for texts in expected for text in texts)
    assert any(map(len, expected)) or jax.__version_info__ < (0, 8)
    assert list(calls(kept)) == list(calls(kept)) == expected


def enable_x64():
    """The context of 64 bits, which has another name in JAX 0.7."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    return jax.experimental.enable_x64(True)


def set_mesh():
    mesh = jax.make_mesh((1,), ("x",))
    # JAX 0.7 has no `jax.set_mesh`.
    return (jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh)(mesh)


SETTINGS = {
    "x64": enable_x64,
    "promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "rank promotion": lambda: jax.numpy_rank_promotion("raise"),
    "precision": lambda: jax.default_matmul_precision("float32"),
    "partitionable": lambda: jax.threefry_partitionable(False),
    "no jit": jax.disable_jit,
    "nans": jax.debug_nans,
    "infs": jax.debug_infs,
    "leaks": jax.checking_leaks,
    "key reuse": lambda: jax.debug_key_reuse(True),
    "device": lambda: jax.default_device(jax.devices()[0]),
    "mesh": set_mesh,
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("args", [((4, 3), "float32"), ((4, 3),)], ids=str)
def test_what_is_kept_depends_on_the_settings(setting, args):
    for name in ("zeros", "constant", "normal", "lecun normal", "geometric"):
        init_fn = INITIALIZERS[name]
        expected = outcome(init_fn, KEY, *args)
        assert outcome(initialize, init_fn, KEY, *args) == expected
        with SETTINGS[setting]():
            # New keys, since it is looked at whether one is used twice.
            within = outcome(init_fn, jax.random.key(3), *args)
            kept = outcome(initialize, init_fn, jax.random.key(3), *args)
            assert kept == within
            staged = [
                jax.jit(functools.partial(fn, *args))(jax.random.key(3))
                for fn in (
                    lambda *args, init_fn=init_fn: init_fn(args[-1], *args[:-1]),
                    lambda *args, init_fn=init_fn: initialize(
                        init_fn, args[-1], *args[:-1]
                    ),
                )
            ]
            assert staged[0].aval == staged[1].aval
            np.testing.assert_array_equal(*staged)
        assert outcome(initialize, init_fn, KEY, *args) == expected


def test_raw_keys_are_read_as_the_settings_say():
    raw = jnp.arange(4, dtype=np.uint32)
    normal = initializers.normal()
    made = []
    for impl in ("rbg", "unsafe_rbg", "threefry2x32", "rbg"):
        with jax.default_prng_impl(impl):
            made.append(outcome(initialize, normal, raw, (2,), "float32"))
            assert made[-1] == outcome(normal, raw, (2,), "float32")
    assert made[0] == made[3]


def test_numbers_that_are_none_are_errors_under_debugging():
    init_fn = initializers.constant(np.nan)
    initialize(init_fn, KEY, (2,), "float32")
    with jax.debug_nans(True), pytest.raises(FloatingPointError):
        initialize(init_fn, KEY, (2,), "float32")


def test_no_more_is_kept_than_has_a_place(monkeypatch):
    kept = {}
    monkeypatch.setattr(initializer_calls, "_kept", kept)
    monkeypatch.setattr(initializer_calls, "_MOST", 3)
    for size in range(1, 9):
        initialize(initializers.ones, KEY, (size,), "float32")
    assert [args for _, args in kept] == [((n,), "float32") for n in (6, 7, 8)]


def test_the_second_step_takes_the_place_of_what_the_first_has_made():
    def initializer(key):
        return initializers.lecun_normal()(key, (4, 3), "float32")

    calls = initializer_calls._eager_calls(initializer, KEY)
    assert calls is not None
    first, second = calls
    value = first.function(KEY, *first.numbers)
    second.function(value, *second.numbers)
    assert value.is_deleted()
    assert not KEY.is_deleted()


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initializers_ignore_the_key_whose_programs_do(name):
    init_fn = INITIALIZERS[name]
    program = jax.make_jaxpr(lambda key: init_fn(key, (17, 5), "float32"))(KEY).jaxpr
    read = any(program.invars[0] in equation.invars for equation in program.eqns)
    assert ignores_key(init_fn) is not read


def test_other_functions_are_taken_to_read_the_key():
    class Says:
        ignores_key = True

    def zeros(key, shape, dtype):
        return initializers.zeros(key, shape, dtype)

    assert ignores_key(Says())
    for init_fn in (zeros, functools.partial(initializers.zeros), object()):
        assert not ignores_key(init_fn)


def test_numbers_that_are_gone_are_made_anew(monkeypatch):
    monkeypatch.setattr(initializer_calls, "_kept", {})
    init_fn = initializers.lecun_normal()
    expected = outcome(initialize, init_fn, KEY, (3, 2), "float32")
    (kept,) = initializer_calls._kept.values()
    assert kept is not None
    (calls,) = kept.eager.values()
    for call in calls:
        for number in call.numbers:
            number.delete()
    for _ in range(2):
        assert outcome(initialize, init_fn, KEY, (3, 2), "float32") == expected


GIVEN_UP = """
import jax
from jax.extend import backend
from batiste.core.initializer_calls import initialize

def make(seed):
    init_fn = jax.nn.initializers.lecun_normal()
    return initialize(init_fn, jax.random.key(seed), (3, 2), "float32").tolist()

before = make(0)
backend.clear_backends()
print([make(0) == before, make(0) == before, make(1) == before])
"""


def test_devices_that_were_given_up_are_not_asked_again():
    command = [sys.executable, "-c", GIVEN_UP]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[True, True, False]\n"
