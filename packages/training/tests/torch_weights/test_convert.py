"""Conversions of recorded layers, without PyTorch; what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

import batiste.linen as nn
from batiste.serialization import serialize
from batiste.training import errors, from_torch, to_torch

from .cases import MODELS, RULES, Flattened, input_of, recorded

# What has two biases in PyTorch, and their sum in Linen.
SUMMED = ("gru", "lstm", "lstm_cell", "rnn")


@pytest.mark.parametrize("name", MODELS)
def test_a_recorded_layer_computes_the_same(name):
    state, output = recorded(name)
    model, x = MODELS[name], input_of(name)
    variables, report = from_torch(model, state, x, rules=RULES.get(name))
    wanted = jax.eval_shape(model.init, jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, wanted)
    np.testing.assert_allclose(model.apply(variables, x), output, atol=1e-5)
    in_report = {n for pair in report.pairs for n in pair.tensors} | {*report.left_out}
    assert in_report == set(state)


@pytest.mark.parametrize("name", MODELS)
def test_a_recorded_layer_goes_back(name):
    state, _ = recorded(name)
    model, x = MODELS[name], input_of(name)
    variables, report = from_torch(model, state, x, rules=RULES.get(name))
    back, _ = to_torch(model, variables, like=report)
    again, _ = to_torch(model, variables, x, like=state, rules=RULES.get(name))
    assert list(back) == list(again) == list(state)
    for tensor, array in state.items():
        np.testing.assert_array_equal(again[tensor], back[tensor])
        assert back[tensor].dtype == array.dtype
        if name not in SUMMED or "bias" not in tensor:
            np.testing.assert_array_equal(back[tensor], array)
    twice, _ = from_torch(model, back, x, rules=RULES.get(name))
    assert jax.tree.all(jax.tree.map(np.array_equal, variables, twice))


def test_of_two_biases_one_gets_the_sum():
    for name in SUMMED:
        state, _ = recorded(name)
        _, report = from_torch(MODELS[name], state, input_of(name))
        variables, _ = from_torch(MODELS[name], state, input_of(name))
        back, _ = to_torch(MODELS[name], variables, like=report)
        for ih in [n for n in state if "bias_ih" in n]:
            hh = ih.replace("_ih", "_hh")
            summed = state[ih] + state[hh]
            if name == "gru":  # its last gate has two biases in Linen, too
                n = len(summed) * 2 // 3
                np.testing.assert_array_equal(back[ih][:n], summed[:n])
                np.testing.assert_array_equal(back[hh][:n], 0)
                np.testing.assert_array_equal(back[ih][n:], state[ih][n:])
                np.testing.assert_array_equal(back[hh][n:], state[hh][n:])
                continue
            kept, other = (ih, hh) if name == "rnn" else (hh, ih)
            np.testing.assert_array_equal(back[kept], summed)
            np.testing.assert_array_equal(back[other], 0)


def test_what_would_lose_a_bias_is_refused():
    state, _ = recorded("gru_without_bias")
    model = MODELS["gru_without_bias"]
    variables, report = from_torch(model, state, input_of("gru_without_bias"))
    variables = jax.tree.map(lambda x: x + 1, variables)
    with pytest.raises(errors.TorchWeightsError, match="no bias.*not zero any more"):
        to_torch(model, variables, like=report)


def test_counts_of_batches_are_left_out_and_kept_for_the_way_back():
    state, _ = recorded("batch_norm")
    variables, report = from_torch(MODELS["batch_norm"], state, input_of("batch_norm"))
    assert "counts batches" in report.left_out["1.num_batches_tracked"]
    back, _ = to_torch(MODELS["batch_norm"], variables, like=report)
    assert back["1.num_batches_tracked"] == state["1.num_batches_tracked"]
    assert set(variables) == {"params", "batch_stats"}


class _Tied(nn.Module):
    @nn.compact
    def __call__(self, ids):
        embed = nn.Embed(7, 4, name="embed")
        return embed.attend(nn.Dense(4, name="dense")(embed(ids)))


def test_a_tied_tensor_is_the_same_as_another():
    embed = np.arange(28, dtype=np.float32).reshape(7, 4)
    state = {
        "wte.weight": embed,
        "fc.weight": np.ones((4, 4), np.float32),
        "fc.bias": np.ones(4, np.float32),
        "lm_head.weight": embed.copy(),
    }
    ids = jnp.zeros((1, 2), jnp.int32)
    variables, report = from_torch(_Tied(), state, ids)
    assert report.left_out == {"lm_head.weight": "the same as wte.weight"}
    back, _ = to_torch(_Tied(), variables, like=report)
    np.testing.assert_array_equal(back["lm_head.weight"], embed)

    state["lm_head.weight"] = embed + 1
    with pytest.raises(errors.UnmatchedTorchWeightsError) as caught:
        from_torch(_Tied(), state, ids)
    assert caught.value.missing == {}
    assert caught.value.left_over == {"lm_head.weight": (7, 4)}


def _dense_state(prefix="fc", n_in=3, n_out=2):
    rng = np.random.default_rng(1)
    return {
        f"{prefix}.weight": rng.standard_normal((n_out, n_in)).astype(np.float32),
        f"{prefix}.bias": rng.standard_normal(n_out).astype(np.float32),
    }


X = jnp.ones((1, 3))


def test_missing_and_left_over_are_named():
    with pytest.raises(errors.UnmatchedTorchWeightsError) as caught:
        from_torch(nn.Dense(5), _dense_state(), X)
    assert caught.value.missing == {"params/bias": (5,), "params/kernel": (3, 5)}
    assert caught.value.left_over == {"fc.weight": (2, 3), "fc.bias": (2,)}
    assert "Missing, as no tensor fits: params/" in str(caught.value)
    assert "Left over, as no variable fits: fc.weight (2, 3)" in str(caught.value)


def test_not_strict_reports_them():
    state = _dense_state() | _dense_state("head", 2, 9)
    model = nn.Sequential([nn.Dense(2), nn.Dense(4)])
    variables, report = from_torch(model, state, X, strict=False)
    assert list(variables["params"]) == ["layers_0"]
    assert report.missing == {
        "params/layers_1/bias": (4,),
        "params/layers_1/kernel": (2, 4),
    }
    assert report.left_over == {"head.weight": (9, 2), "head.bias": (9,)}
    assert "head.weight (9, 2)" in str(report)
    assert "left over" in str(report)


def test_a_rule_leaves_out():
    state = _dense_state() | _dense_state("head", 2, 9)
    _, report = from_torch(nn.Dense(2), state, X, rules={"head.*": None})
    assert report.left_out == dict.fromkeys(["head.weight", "head.bias"], "by a rule")


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ({"fd": "layers_0"}, 'names no tensor: "fd" is none'),
        ({"fc": "layers_9"}, 'names no variable: "layers_9" is none'),
        ({"fc": 3}, "is not a pattern of names"),
    ],
)
def test_a_rule_about_nothing_is_an_error(rules, text):
    with pytest.raises(errors.TorchRuleError, match=text):
        from_torch(nn.Sequential([nn.Dense(2)]), _dense_state(), X, rules=rules)


def test_flattened_channels_are_asked_for():
    state, _ = recorded("flatten")
    with pytest.raises(errors.AmbiguousTorchWeightsError) as caught:
        from_torch(Flattened(), state, input_of("flatten"))
    assert caught.value.rules == RULES["flatten"]
    assert str(caught.value).startswith(
        'Two answers are possible for "fc" (5, 48), which becomes "fc": "transpose" or '
        '"transpose, flattened channels first". Say which with a rule, such as rules='
    )


def test_three_within_each_head_is_asked_for():
    state, _ = recorded("attention_of_heads")
    with pytest.raises(errors.AmbiguousTorchWeightsError) as caught:
        from_torch(MODELS["attention_of_heads"], state, input_of("attention_of_heads"))
    assert caught.value.rules == RULES["attention_of_heads"]


def test_a_safetensors_file_is_read(tmp_path):
    state, output = recorded("attention_separate")
    file = tmp_path / "w.safetensors"
    serialize(state, file, format="safetensors", separator=None)
    model, x = MODELS["attention_separate"], input_of("attention_separate")
    variables, _ = from_torch(model, file, x)
    np.testing.assert_allclose(model.apply(variables, x), output, atol=1e-5)


def test_numbers_take_the_dtype_of_the_variable_and_back():
    state = {n: x.astype(np.float16) for n, x in _dense_state().items()}
    variables, report = from_torch(nn.Dense(2), state, X)
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert report.pairs[0].how == "transpose, float16 to float32"
    back, _ = to_torch(nn.Dense(2), variables, like=report)
    np.testing.assert_array_equal(back["fc.weight"], state["fc.weight"])
    assert back["fc.weight"].dtype == np.float16


def test_variables_stay_in_their_boxes():
    init = nn.with_partitioning(nn.initializers.zeros, ("x", None))
    state = _dense_state()
    variables, report = from_torch(nn.Dense(2, kernel_init=init), state, X)
    kernel = variables["params"]["kernel"]
    assert kernel.get_partition_spec() == PartitionSpec("x", None)
    back, _ = to_torch(nn.Dense(2), variables, like=report)
    np.testing.assert_array_equal(back["fc.weight"], state["fc.weight"])


def test_keyword_arguments_go_to_the_model():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.BatchNorm(use_running_average=not train)(nn.Dense(2)(x))

    state = _dense_state()
    names = ("weight", "bias", "running_mean", "running_var")
    state |= {f"bn.{name}": np.ones(2, np.float32) for name in names}
    variables, _ = from_torch(Model(), state, X, train=False)
    assert variables["batch_stats"]["BatchNorm_0"]["mean"].shape == (2,)


def test_variables_that_lack_something_are_refused():
    _, report = from_torch(nn.Dense(2), _dense_state(), X)
    with pytest.raises(errors.TorchWeightsError, match='nothing at "params/kernel"'):
        to_torch(nn.Dense(2), {"params": {}}, like=report)
    wrong = {"params": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
    with pytest.raises(errors.TorchWeightsError, match=r"has the shape \(2, 2\)"):
        to_torch(nn.Dense(2), wrong, like=report)


def test_without_a_torch_module_there_is_nothing_to_verify_with():
    state = _dense_state()
    with pytest.raises(errors.TorchWeightsError, match="nothing to verify with"):
        from_torch(nn.Dense(2), state, X, verify=True)
    variables, _ = from_torch(nn.Dense(2), state, X)
    with pytest.raises(errors.TorchWeightsError, match="nothing to verify with"):
        to_torch(nn.Dense(2), variables, X, like=state, verify=True)


def test_stacked_layers_are_explained():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.Dense(3)(x), None

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            layers = nn.scan(
                Layer,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=2,
            )
            return layers(name="layers")(x, None)[0]

    state = _dense_state("0", 3, 3) | _dense_state("1", 3, 3)
    with pytest.raises(errors.UnmatchedTorchWeightsError, match="nn.scan and nn.vmap"):
        from_torch(Model(), state, X)
