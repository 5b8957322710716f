"""Rows and costs of every kind of module, within whatever transform it runs."""

import jax
import jax.numpy as jnp
import pytest

import batiste.linen as nn
from batiste.linen.summary.rows import make_rows
from batiste.linen.summary.table import module_paths, tabulate

KEYS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
X = jnp.ones((2, 5, 4))
DENSE = 2 * 2 * 5 * 4 * 3 + 2 * 5 * 3  # products and bias of Dense(3) on X


def _around(make):
    class Around(nn.Module):
        @nn.compact
        def __call__(self, x):
            return make(self, x)

    return Around()


def _branches(module, x):
    dense = nn.Dense(3)
    dense(x)
    return nn.cond(x.sum() > 0, lambda m, x: m(x), lambda m, x: 2 * m(x), dense, x)


def _looped(module, x):
    dense = nn.Dense(4)
    dense(x)
    return nn.while_loop(
        lambda m, c: c[1] < 3, lambda m, c: (m(c[0]), c[1] + 1), dense, (x, 0)
    )[0]


def _scanned(module, x):
    def body(module, carry, _):
        return nn.Dense(4, name="d")(carry), None

    lifted = nn.scan(
        body, variable_axes={"params": 0}, split_rngs={"params": True}, length=3
    )
    return lifted(module, x, None)[0]


def _mapped(module, x):
    Dense = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True})
    return Dense(3)(x)


# The module, the path of a row in it, its class, and its operations where they are told
# easily.
KINDS = {
    "RNN": (nn.RNN(nn.LSTMCell(4)), "cell", "LSTMCell", None),
    "RNN of conv": (nn.RNN(nn.ConvLSTMCell(3, (2,))), "cell/ih", "Conv", None),
    "Bidirectional": (
        nn.Bidirectional(nn.RNN(nn.GRUCell(4)), nn.RNN(nn.SimpleCell(4))),
        *("backward_rnn/cell", "SimpleCell", None),
    ),
    "SpectralNorm": (
        _around(lambda m, x: nn.SpectralNorm(nn.Dense(3))(x, update_stats=True)),
        *("Dense_0", "Dense", DENSE),
    ),
    "WeightNorm": (
        _around(lambda m, x: nn.WeightNorm(nn.Dense(3))(x)),
        *("Dense_0", "Dense", DENSE),
    ),
    "WeightNorm alone": (
        nn.WeightNorm(nn.Conv(3, (2,))),
        *("layer_instance", "Conv", None),
    ),
    "vmap": (_around(_mapped), "VmapDense_0", "Dense", DENSE // 2),
    "scan": (_around(_scanned), "d", "Dense", 2 * 2 * 5 * 4 * 4 + 2 * 5 * 4),
    "remat": (
        _around(lambda m, x: nn.remat(nn.Dense)(3)(x)),
        *("CheckpointDense_0", "Dense", DENSE),
    ),
    "jit": (
        _around(lambda m, x: nn.jit(nn.Dense)(3)(x)),
        *("JitDense_0", "Dense", DENSE),
    ),
    "vjp": (
        _around(lambda m, x: nn.vjp(lambda m, x: m(x), nn.Dense(3), x)[0]),
        *("Dense_0", "Dense", DENSE),
    ),
    "cond": (_around(_branches), "Dense_0", "Dense", DENSE),
    "while_loop": (_around(_looped), "Dense_0", "Dense", None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_costs(kind):
    module, path, name, flops = KINDS[kind]
    rows = make_rows(module, KEYS, (X,), {}, flops=True)
    by_path = {"/".join(row.path): row for row in rows}
    row = by_path[path]
    assert row.module_type.__name__.endswith(name)
    assert {row.method for row in rows} == {"__call__"}
    if flops is not None:
        assert row.flops == flops
    assert rows[0].path == ()
    assert rows[0].flops >= row.flops > 0
    assert path in module_paths(module, KEYS)(X)
    if kind != "while_loop":  # which has no gradient
        for row in make_rows(module, KEYS, (X,), {}, vjp_flops=True):
            assert row.vjp_flops > 0


@pytest.mark.parametrize("kind", KINDS)
def test_tables_show_no_lifted_function(kind):
    plain = {"force_terminal": False, "width": 300}
    table = tabulate(KINDS[kind][0], KEYS, console_kwargs=plain, compute_flops=True)
    text = table(X)
    assert KINDS[kind][2] in text
    for name in ("(step)", "(call)", "<lambda>", "(body)"):
        assert name not in text


def test_a_norm_counts_its_layer_but_once():
    module = KINDS["WeightNorm"][0]
    model, norm, dense = make_rows(module, KEYS, (X,), {}, flops=True)
    assert model.flops == norm.flops > dense.flops


def test_intermediates_are_shown_where_the_config_says_so():
    class Sown(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.sow("intermediates", "hidden", x)
            return x

    from batiste.core.config import config

    for shown in (True, False):
        with config.temp_flip_flag("tabulate_intermediates", shown):
            for text in (tabulate(Sown(), KEYS)(X), Sown().tabulate(KEYS, X)):
                assert ("intermediates" in text) == shown
            assert "intermediates" in tabulate(Sown(), KEYS, mutable=True)(X)
