"""Products in 8-bit numbers against the released flax, bit for bit.

Forwards, gradients, and the statistics that the gradients of a step are.
"""

import importlib
import warnings
from typing import Any

import jax
import numpy as np
import optax
import pytest
from jax import lax
from jax import numpy as jnp

from batiste import linen as ours
from batiste.core import freeze, unfreeze
from batiste.training import train_state

# By name, as the type checker runs where flax is not installed.
theirs: Any = importlib.import_module("flax.linen")
their_train_state: Any = importlib.import_module("flax.training.train_state")

BOTH = (theirs, ours)
OPS = ["Fp8DotGeneralOp", "Fp8DirectDotGeneralOp", "NANOOFp8DotGeneralOp"]
DTYPES = [jnp.float32, jnp.bfloat16, jnp.float16]
MATRIX = (((1,), (0,)), ((), ()))
STATISTICS = "_overwrite_with_gradient"
pytestmark = pytest.mark.filterwarnings("ignore:.*Fp8DotGeneralOp is dep")


def normal(seed: int, *shape: int, dtype: Any = jnp.float32, size: float = 1.0) -> Any:
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return jnp.asarray(size * x, dtype)


def plain(tree: Any) -> Any:
    if hasattr(tree, "items"):
        return {key: plain(value) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        return [plain(value) for value in tree]
    return tree


def assert_same(results: Any) -> None:
    expected, found = (jax.tree.flatten(plain(result)) for result in results)
    assert expected[1] == found[1]
    for x, y in zip(expected[0], found[0]):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def outcome(function: Any, *args: Any, **kwargs: Any) -> Any:
    """What the function returns, and the types of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*args, **kwargs)
    return result, {warning.category for warning in caught}


def filled(tree: Any) -> Any:
    """Statistics of some steps before in the place of the first, all different."""
    flat, structure = jax.tree.flatten_with_path(plain(tree))
    made = []
    for i, (path, value) in enumerate(flat):
        name = path[-1].key
        rows = np.random.default_rng(i).uniform(0.5, 9.0, value.shape)
        statistic = name.endswith(("_scale", "_history"))
        made.append(jnp.asarray(rows, value.dtype) if statistic else value)
    return jax.tree.unflatten(structure, made)


def steps(apply: Any, variables: Any, args: Any, wrap: Any = jax.jit) -> list[Any]:
    """Outputs, gradients of all and new statistics, over two steps."""

    def loss(variables, *args):
        y = apply(variables, *args).astype(jnp.float32)
        return jnp.sum(jnp.sin(y)), y

    step = wrap(jax.grad(loss, argnums=tuple(range(len(args) + 1)), has_aux=True))
    found = [variables]
    for _ in range(2):
        grads, y = step(variables, *args)
        found.append((grads, y))
        variables = {**variables, STATISTICS: grads[0][STATISTICS]}
    return found


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("param_dtype", DTYPES)
def test_dense(op, dtype, param_dtype):
    results = []
    x = normal(0, 5, 16, size=3.0)
    for nn in BOTH:
        layer = nn.Dense(
            8,
            dtype=dtype,
            param_dtype=param_dtype,
            dot_general_cls=lambda nn=nn: getattr(nn, op)(amax_history_length=3),
        )
        variables = plain(layer.init(jax.random.key(0), x))
        found = [variables, steps(layer.apply, filled(variables), (x,))]
        if dtype == param_dtype:
            found.append(steps(layer.apply, variables, (x,), lambda f: f))
        results.append(found)
    assert_same(results)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("lhs", [*DTYPES, jnp.int32])
@pytest.mark.parametrize("rhs", DTYPES)
def test_factors_of_two_dtypes(op, lhs, rhs):
    x, w = normal(1, 3, 4).astype(lhs), normal(2, 4, 5, dtype=rhs)
    results = []
    for nn in BOTH:
        module = getattr(nn, op)(4)
        y, variables = module.init_with_output(jax.random.key(0), x, w, MATRIX)
        variables = filled(variables)

        def apply(variables, w, module=module):
            return module.apply(
                variables, x, w, MATRIX, precision="highest", out_sharding=None
            )

        results.append([y, variables, steps(apply, variables, (w,))])
    assert_same(results)


DIMENSIONS = {
    "matrix": ((3, 4), (4, 5), MATRIX),
    "vectors": ((4,), (4, 2), (((0,), (0,)), ((), ()))),
    "lists": ((3, 4), (4, 5), [[[1], [0]], [[], []]]),
    "outer": ((3,), (4,), (((), ()), ((), ()))),
    "batch": ((2, 3, 4), (2, 4, 5), (((2,), (1,)), ((0,), (0,)))),
    "crossed": (
        *((2, 3, 4, 5), (5, 2, 3, 6, 7)),
        (((1, 3), (2, 0)), ((0,), (1,))),
    ),
    "batches crossed": ((2, 3, 4), (4, 3, 2, 5), (((1,), (1,)), ((0, 2), (2, 0)))),
}


@pytest.mark.parametrize("name", DIMENSIONS)
@pytest.mark.parametrize("op", OPS)
def test_dimension_numbers(name, op):
    left, right, dimensions = DIMENSIONS[name]
    x, w = normal(1, *left), normal(2, *right)
    results = []
    for nn in BOTH:
        module = getattr(nn, op)(2)
        variables = filled(module.init(jax.random.key(0), x, w, dimensions))

        def apply(variables, x, w, module=module):
            return module.apply(variables, x, w, dimensions)

        results.append(steps(apply, variables, (x, w)))
    assert_same(results)


@pytest.mark.parametrize("name", DIMENSIONS)
@pytest.mark.parametrize("preferred", [None, jnp.bfloat16])
def test_transposes(name, preferred):
    left, right, dimensions = DIMENSIONS[name]
    x, w = normal(1, *left), normal(2, *right)
    g = lax.dot_general(x, w, dimensions)
    results = []
    for nn in BOTH:
        kwargs = {
            "dimension_numbers": dimensions,
            "precision": "highest",
            "preferred_element_type": preferred,
        }
        turned = lax.dot_general(
            w, x, tuple((tuple(b), tuple(a)) for a, b in dimensions)
        )
        results.append(
            [
                nn.fp8_ops.dot_general_transpose_lhs(g, x, w, **kwargs),
                nn.fp8_ops.dot_general_transpose_rhs(g, x, w, **kwargs),
                nn.fp8_ops.dot_general_transpose_lhs(
                    turned, x, w, swap_ans=True, **kwargs
                ),
            ]
        )
    assert_same(results)


EQUATIONS = {
    "ab,bc->ac": ((3, 4), (4, 5)),
    "ab,bc->ca": ((3, 4), (4, 5)),
    "ab, bc -> ac": ((3, 4), (4, 5)),
    "ab,bc": ((3, 4), (4, 5)),
    "...b,bc->...c": ((2, 3, 4), (4, 5)),
    "abd,bcd->ac": ((3, 4, 2), (4, 5, 2)),
    "bqhd,bkhd->bhqk": ((2, 3, 4, 5), (2, 6, 4, 5)),
    "ab,cb->abc": ((3, 4), (5, 4)),
    "abc,bd->ad": ((3, 4, 2), (4, 5)),
    "a,b->ba": ((3,), (4,)),
}


@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.parametrize("preferred", [None, jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_einsum(equation, preferred, dtype):
    left, right = EQUATIONS[equation]
    x, w = normal(1, *left), normal(2, *right, dtype=dtype)
    results = []
    for nn in BOTH:
        module = nn.Fp8Einsum(3)
        first = module.init_with_output(jax.random.key(0), equation, x, w)
        variables = filled(first[1])

        def apply(variables, x, w, module=module):
            return module.apply(variables, equation, x, w, None, preferred)

        results.append([first, steps(apply, variables, (x, w))])
    assert_same(results)


class Programs:
    """Modules that use the operations, for either library."""

    @staticmethod
    def vmap(nn):
        dense = nn.vmap(
            nn.Dense,
            variable_axes={"params": 0, STATISTICS: 0},
            split_rngs={"params": True},
        )
        return dense(4, dot_general_cls=nn.Fp8DotGeneral), normal(3, 2, 3, 4)

    @staticmethod
    def vmap_shared(nn):
        dense = nn.vmap(
            nn.Dense,
            variable_axes={"params": None, STATISTICS: None},
            split_rngs={"params": False},
        )
        return dense(4, dot_general_cls=nn.Fp8DotGeneral), normal(3, 2, 3, 4)

    @staticmethod
    def scan(nn):
        class Block(nn.Module):
            @nn.compact
            def __call__(self, x, _):
                return nn.Dense(4, dot_general_cls=nn.Fp8DotGeneral)(x), None

        scanned = nn.scan(
            Block,
            variable_axes={"params": 0, STATISTICS: 0},
            split_rngs={"params": True},
            length=3,
        )

        class Net(nn.Module):
            @nn.compact
            def __call__(self, x):
                return scanned(name="blocks")(x, None)[0]

        return Net(), normal(3, 3, 4)

    @staticmethod
    def scan_shared(nn):
        class Block(nn.Module):
            @nn.compact
            def __call__(self, x, _):
                return nn.Dense(4, dot_general_cls=nn.Fp8DotGeneral)(x), None

        scanned = nn.scan(
            Block,
            variable_broadcast=["params", STATISTICS],
            split_rngs={"params": False},
            length=3,
        )

        class Net(nn.Module):
            @nn.compact
            def __call__(self, x):
                return scanned(name="blocks")(x, None)[0]

        return Net(), normal(3, 3, 4)

    @staticmethod
    def remat(nn):
        dense = nn.remat(nn.Dense)
        return dense(4, dot_general_cls=nn.NANOOFp8DotGeneralOp), normal(3, 3, 4)

    @staticmethod
    def dense_general(nn):
        layer = nn.DenseGeneral(
            (2, 3), axis=(-2, -1), batch_dims=(0,), dot_general_cls=nn.Fp8DotGeneral
        )
        return layer, normal(3, 2, 3, 4, 5)

    @staticmethod
    def instance(nn):
        return nn.Dense(4, dot_general=nn.Fp8DotGeneral(7)), normal(3, 3, 4)

    @staticmethod
    def attention(nn):
        layer = nn.MultiHeadDotProductAttention(
            2,
            qkv_dot_general_cls=nn.Fp8DotGeneral,
            out_dot_general_cls=nn.NANOOFp8DotGeneralOp,
        )
        return layer, normal(3, 2, 3, 4)

    @staticmethod
    def in_setup(nn):
        class Net(nn.Module):
            def setup(self):
                self.product = nn.Fp8DotGeneral(7)
                self.einsum = nn.Fp8Einsum(5)
                self.kernel = self.param("kernel", nn.initializers.normal(), (4, 4))

            def __call__(self, x):
                y = self.product(x, self.kernel, MATRIX)
                return self.einsum("ab,bc->ac", y, self.kernel)

        return Net(), normal(3, 3, 4)

    @staticmethod
    def used_twice(nn):
        class Net(nn.Module):
            @nn.compact
            def __call__(self, x):
                dense = nn.Dense(4, dot_general_cls=nn.Fp8DotGeneral)
                return dense(jnp.tanh(dense(x)))

        return Net(), normal(3, 3, 4)


@pytest.mark.parametrize("name", [name for name in vars(Programs) if name[0] != "_"])
def test_program(name):
    results = []
    for nn in BOTH:
        module, x = getattr(Programs, name)(nn)
        variables = plain(module.init(jax.random.key(0), x))
        results.append([variables, steps(module.apply, filled(variables), (x,))])
    assert_same(results)


Q_DTYPES = [
    *(jnp.float8_e4m3fn, jnp.float8_e5m2, jnp.float8_e4m3fnuz, jnp.float8_e5m2fnuz)
]


@pytest.mark.parametrize("q_dtype", Q_DTYPES)
@pytest.mark.parametrize("compute_dtype", DTYPES)
@pytest.mark.parametrize("dtype", [*DTYPES, jnp.int32])
def test_scaling(q_dtype, compute_dtype, dtype):
    x = (normal(4, 6, 7, size=500.0)).astype(dtype)
    scale, history = jnp.full(1, 0.37), normal(5, 4) ** 2
    results = []
    for nn in BOTH:
        ops = nn.fp8_ops
        quantized = ops.quantize(x, q_dtype, scale, compute_dtype)
        results.append(
            [
                ops.get_fp8_max(q_dtype, compute_dtype),
                quantized,
                ops.dequantize(quantized, compute_dtype, scale),
                ops.qdq(x, q_dtype, scale, compute_dtype),
                ops.compute_amax_history(x, history),
                ops.update_fp8_meta(x, q_dtype, scale, history),
                ops.quantize_dequantize_update(
                    x, q_dtype, scale, history, compute_dtype
                ),
            ]
        )
    assert_same(results)


@pytest.mark.parametrize("amax", [0.0, -1.0, 1e-30, 3.0, np.inf, np.nan])
@pytest.mark.parametrize("margin", [0, 1, 3])
def test_scale_of_what_was_seen(amax, margin):
    args = jnp.float32(amax), jnp.full(1, 0.3), np.float32(448), margin
    assert_same([nn.fp8_ops.compute_scale(*args) for nn in BOTH])


@pytest.mark.parametrize("rule", ["in_qdq", "out_qdq", "in_q"])
@pytest.mark.parametrize("q_dtype", Q_DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rules(rule, q_dtype, dtype):
    x = normal(4, 6, 7, size=50.0, dtype=dtype)
    arrays = x, jnp.full(1, 0.37), normal(5, 4) ** 2
    results = []
    for nn in BOTH:
        function = getattr(nn.fp8_ops, rule)

        def run(*arrays, function=function):
            y, pull = jax.vjp(lambda *a: function(dtype, q_dtype, *a), *arrays)
            return y, pull(y)

        forward = getattr(nn.fp8_ops, f"{rule}_fwd")(dtype, q_dtype, *arrays)
        backward = getattr(nn.fp8_ops, f"{rule}_bwd")(dtype, q_dtype, forward[1], x)
        batched = jax.vmap(lambda x, run=run: run(x, *arrays[1:]))(x)
        if rule == "in_q":
            run = jax.jit(lambda *a, f=function: f(dtype, q_dtype, *a))
            batched = jax.vmap(lambda x, run=run: run(x, *arrays[1:]))(x)
        results.append([run(*arrays), forward, backward, batched])
    assert_same(results)


@pytest.mark.parametrize("preferred", [None, *DTYPES])
@pytest.mark.parametrize("compute", DTYPES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_scaled_dot_general(preferred, compute, dtype):
    x, w = normal(1, 3, 4, dtype=dtype), normal(2, 4, 5, dtype=dtype)
    names = ("lhs", "rhs", "grad")
    statistics = {
        **{f"{name}_scale": jnp.full(1, 0.1 + i) for i, name in enumerate(names)},
        **{f"{name}_amax_history": normal(i, 3) for i, name in enumerate(names)},
    }
    results = []
    for nn in BOTH:

        def loss(x, w, statistics, nn=nn):
            y = nn.fp8_ops.fp8_scaled_dot_general(
                *(x, w, MATRIX, None, preferred),
                quantize_compute_type=compute,
                **statistics,
            )
            return jnp.sum(jnp.sin(y.astype(jnp.float32))), y

        grad = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)
        results.append([grad(x, w, statistics), jax.jit(grad)(x, w, statistics)])
    assert_same(results)


def test_forward_mode():
    x, w = normal(1, 3, 4), normal(2, 4, 5)
    results = []
    for nn in BOTH:
        product = nn.fp8_ops.dot_general_with_precision
        results.append(
            jax.jvp(lambda x, w, f=product: f(x, w, MATRIX), (x, w), (2 * x, -w))
        )
    assert_same(results)


def test_warnings():
    x, w = normal(1, 3, 4), normal(2, 4, 5)
    for nn in BOTH:
        ops = nn.fp8_ops
        assert outcome(ops.Fp8DotGeneralOp)[1] == {DeprecationWarning}
        assert outcome(ops.NANOOFp8DotGeneralOp)[1] == set()
        assert outcome(type("Mine", (ops.Fp8DotGeneralOp,), {}))[1] == set()
        product = ops.dot_general_with_precision
        assert outcome(product, x, w, MATRIX)[1] == set()
        assert outcome(product, x, w, MATRIX, "high")[1] == {UserWarning}
        found = outcome(product, x, w, MATRIX, None, jnp.bfloat16)
        assert found[1] == {UserWarning}
        einsum = ops.Fp8Einsum().init
        key = jax.random.key(0)
        assert outcome(einsum, key, "ab,bc->ac", x, w)[1] == set()
        assert outcome(einsum, key, "ab,bc->ac", x, w, "high")[1] == {UserWarning}


def meta(tree: Any, nn: Any) -> Any:
    return jax.tree.map(lambda x: lax.convert_element_type(x, nn.fp8_ops.fm32), tree)


@pytest.mark.parametrize("name", ["used_twice", "scan_shared", "in_setup", "attention"])
def test_statistics_joined_by_their_maximum(name):
    results = []
    for nn in BOTH:
        module, x = getattr(Programs, name)(nn)
        variables = filled(module.init(jax.random.key(0), x))

        def apply(variables, x, nn=nn, module=module):
            statistics = meta(variables[STATISTICS], nn)
            return module.apply({**variables, STATISTICS: statistics}, x)

        results.append(steps(apply, variables, (x,)))
    assert_same(results)


def test_the_dtype_of_such_statistics():
    results = []
    for nn in BOTH:
        ops = nn.fp8_ops
        value = lax.convert_element_type(jnp.arange(3.0), ops.fm32)
        assert value.dtype == ops.fm32 == ops.fp32_max_grad
        assert jnp.issubdtype(value.dtype, ops.fp8_meta_dtype)
        assert not jnp.issubdtype(value.dtype, jnp.floating)
        narrow = ops.fp8_meta_dtype_wrapper(jnp.bfloat16)
        assert (str(ops.fm32), repr(narrow)) == ("fp8_meta32", "fp8_meta16")
        with pytest.raises(ValueError):
            lax.convert_element_type(value, jnp.bfloat16)
        with pytest.raises(TypeError):
            jax.grad(lambda x: 0.0)(value)
        numbers = jax.jit(lambda x: lax.convert_element_type(x, jnp.float32))(value)
        zeros = lax.convert_element_type(jnp.zeros_like(value), jnp.float32)
        stacked = lax.convert_element_type(jnp.stack([value, value]), jnp.float32)
        rules = ops.Fp8MetaTyRules
        added = rules.add(ops.fm32, value, lax.full((3,), 1.0, ops.fm32))
        added = lax.convert_element_type(added, jnp.float32)
        updated = ops.update_fp8_meta(jnp.ones(2), jnp.float8_e4m3fn, value, value)
        assert all(each.dtype == ops.fm32 for each in updated)
        back = [lax.convert_element_type(each, jnp.float32) for each in updated]
        results.append([numbers, zeros, stacked, added, back])
    assert_same(results)


@pytest.mark.parametrize("frozen", [False, True], ids=["dict", "FrozenDict"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
def test_train_state(frozen, compiled):
    x, goal = normal(6, 8, 16), normal(7, 8, 8)
    results = []
    for nn, module in ((theirs, their_train_state), (ours, train_state)):
        model = nn.Dense(8, dot_general_cls=nn.Fp8DotGeneral)
        variables = unfreeze(model.init(jax.random.key(0), x))
        variables = freeze(variables) if frozen and nn is ours else variables
        state = module.TrainState.create(
            apply_fn=model.apply, params=variables, tx=optax.adam(0.1)
        )

        def step(state):
            def loss(params):
                return jnp.mean((state.apply_fn(params, x) - goal) ** 2)

            value, grads = jax.value_and_grad(loss)(state.params)
            return state.apply_gradients(grads=grads), value

        step, losses = jax.jit(step) if compiled else step, []
        for _ in range(8):
            state, value = step(state)
            losses.append(value)
        assert losses[-1] < losses[0]
        results.append([state.params, losses, jax.tree.leaves(state.opt_state)])
    assert_same(results)
