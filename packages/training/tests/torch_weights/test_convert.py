"""Conversions of recorded layers, without PyTorch; what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

import batiste.linen as nn
from batiste.serialization import serialize
from batiste.training import errors, from_torch, to_torch

from .cases import (
    MODELS,
    RULES,
    Flattened,
    Layer,
    Stack,
    input_of,
    recorded,
    scanned,
)

# What has two biases in PyTorch, and their sum in Linen.
SUMMED = ("gru", "lstm", "lstm_cell", "rnn", "scan_lstm")


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


def _stack(**options):
    return Stack(scanned(Layer, 6, **options))


STATE = "scan"
Y = jnp.ones((1, 2, 4))


def test_each_row_says_which_slice():
    state, _ = recorded(STATE)
    _, report = from_torch(_stack(params=1), state, Y)
    rows = {name: pair for pair in report.pairs for name in pair.tensors}
    assert rows["2.fc.weight"].variables == {"params/layers/fc/kernel[:, 2]": (4, 4)}
    assert rows["5.bn.running_mean"].variables == {
        "batch_stats/layers/bn/mean[5]": (4,)
    }
    assert list(rows)[0] == "0.gain"
    assert len(report.pairs) == 6 * 7
    line = "5.fc.weight (4, 4)        params/layers/fc/kernel[:, 5] (4, 4)  transpose"
    assert line in str(report).splitlines()


def test_the_last_layer_runs_first_where_the_scan_begins_at_the_end():
    state, _ = recorded(STATE)
    one, _ = from_torch(_stack(), state, Y)
    other, report = from_torch(_stack(reverse=True), state, Y)
    assert list(report.pairs[0].variables) == ["params/layers/scale[-1]"]
    flipped = jax.tree.map(lambda x: x[::-1], other)
    assert jax.tree.all(jax.tree.map(np.array_equal, one, flipped))


def test_rules_name_layers_of_a_stack():
    state, _ = recorded(STATE)
    odd = {n.replace("1.", "x.", 1) if n[0] == "1" else n: x for n, x in state.items()}
    swapped = dict(sorted(odd.items()))
    rules = {"x": "layers[1]", "x.*": "layers[1]/*"}
    rules |= {f"{i}.*": f"layers[{i}]/*" for i in (0, 2, 3, 4, 5)}
    rules |= {f"{i}.gain": f"layers/scale[{i}]" for i in (0, 2, 3, 4, 5)}
    rules = {name: path for name, path in rules.items() if name != "x"}
    one, _ = from_torch(_stack(), swapped, Y, rules=rules)
    other, _ = from_torch(_stack(), state, Y)
    assert jax.tree.all(jax.tree.map(np.array_equal, one, other))
    # Of a stack as a whole, too: the order tells which is which.
    _, report = from_torch(_stack(), state, Y, rules={"*.fc": "layers/fc"})
    assert report.pairs
    again, _ = from_torch(_stack(), state, Y, rules={"*.fc": "layers[*]/fc"})
    assert jax.tree.all(jax.tree.map(np.array_equal, again, other))


def test_a_question_names_layers_of_a_stack():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.Dense(4, name="b")(nn.Dense(4, name="a")(x)), None

    state = {
        f"{i}.{name}.weight": np.full((4, 4), i, np.float32)
        for i in range(3)
        for name in ("x", "y")
    }
    model = Stack(scanned(Two, 3))
    with pytest.raises(errors.UnmatchedTorchWeightsError, match="params/layers/a"):
        from_torch(model, state, Y)
    state |= {n.replace("weight", "bias"): x[0] for n, x in state.items()}
    state = dict(sorted(state.items()))
    with pytest.raises(errors.AmbiguousTorchWeightsError) as caught:
        from_torch(model, state, Y)
    assert caught.value.rules == {"*.x": "layers[*]/a", "*.y": "layers[*]/b"}
    from_torch(model, state, Y, rules=caught.value.rules)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flattened_channels_are_asked_for_in_stacks_too(axis):
    both = nn.vmap(
        Flattened,
        variable_axes={"params": axis},
        split_rngs={"params": True},
        in_axes=None,
        axis_size=2,
    )
    one, output = recorded("flatten")
    state = {f"m.{i}.{n}": x for i in range(2) for n, x in one.items()}
    if axis == 2:
        state = {n: x for n, x in state.items() if "weight" in n}

        class Flat(Flattened):
            @nn.compact
            def __call__(self, x):
                x = nn.Conv(4, (3, 3), padding="VALID", name="conv", use_bias=False)(x)
                x = x.reshape(len(x), -1)
                return nn.Dense(5, name="fc", use_bias=False)(x)

        both = nn.vmap(
            Flat,
            variable_axes={"params": axis},
            split_rngs={"params": True},
            in_axes=None,
            axis_size=2,
        )
    x = input_of("flatten")
    with pytest.raises(errors.AmbiguousTorchWeightsError) as caught:
        from_torch(both(), state, x)
    how = "transpose, flattened channels first"
    assert '"m.0.fc" (5, 48), which becomes "[0]/fc"' in str(caught.value)
    assert caught.value.rules == {"m.*.fc": f"fc as {how}"}
    variables, _ = from_torch(both(), state, x, rules=caught.value.rules)
    if axis < 2:
        found = both().apply(variables, x)
        np.testing.assert_allclose(found, [output, output], atol=1e-5)


def test_a_parameter_that_is_stacked_there_too_stays_whole():
    class Scales(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            scale = self.param("scale", nn.initializers.ones, (4,))
            return nn.Dense(4, name="fc")(x * scale), None

    state = {"scales": np.arange(12, dtype=np.float32).reshape(3, 4)}
    for i in range(3):
        state |= _dense_state(f"h.{i}", 4, 4)
    variables, report = from_torch(Stack(scanned(Scales, 3)), state, Y)
    np.testing.assert_array_equal(
        variables["params"]["layers"]["scale"], state["scales"]
    )
    assert report.pairs[0].variables == {"params/layers/scale": (3, 4)}
    assert report.pairs[-1].variables == {"params/layers/fc/bias[2]": (4,)}
    back, _ = to_torch(Stack(scanned(Scales, 3)), variables, like=report)
    assert all(np.array_equal(back[name], array) for name, array in state.items())


def test_another_number_of_layers_is_named():
    state, _ = recorded(STATE)
    for length in (5, 7):
        with pytest.raises(errors.UnmatchedTorchWeightsError) as caught:
            from_torch(Stack(scanned(Layer, length)), state, Y)
        assert '"layers/' in str(caught.value)
        assert "is stacked: make it of as many layers as the state dict has" in str(
            caught.value
        )
        assert "params/layers/fc/kernel[0]" in caught.value.missing
        assert "0.fc.weight" in caught.value.left_over


def test_a_variable_with_a_layer_missing_is_left_out_if_not_strict():
    state, _ = recorded(STATE)
    del state["3.gain"]
    names = {f"{i}.gain": f"layers/scale[{i}]" for i in (0, 1, 2, 4, 5)}
    variables, report = from_torch(_stack(), state, Y, strict=False, rules=names)
    assert report.missing == {"params/layers/scale[3]": (4,)}
    assert set(variables["params"]["layers"]) == {"bn", "fc"}


def test_what_some_layers_share_and_others_do_not_is_refused():
    shared = nn.scan(
        Layer,
        variable_axes={"params": 0},
        variable_broadcast="batch_stats",
        split_rngs={"params": True},
        length=6,
    )
    state, _ = recorded(STATE)
    with pytest.raises(errors.UnmatchedTorchWeightsError) as caught:
        from_torch(Stack(shared), state, Y)
    assert (
        'Of the variables of "layers/bn", a transform stacks some, and its layers '
        "share the others, so that none of them is a layer of PyTorch: put all of its "
        "collections into variable_axes."
    ) in str(caught.value)


def test_a_stack_whose_axis_cannot_be_known_is_refused():
    class OnlyInit(nn.Module):
        @nn.compact
        def __call__(self, x):
            if not self.is_initializing():
                raise RuntimeError("not now")
            return Stack(scanned(Layer, 6))(x)

    state, _ = recorded(STATE)
    with pytest.raises(errors.UnmatchedTorchWeightsError) as caught:
        from_torch(OnlyInit(), state, Y)
    assert "as nn.scan and nn.vmap give them" in str(caught.value)
    assert "RuntimeError: not now" in str(caught.value)


def test_a_model_that_is_made_for_init_needs_no_call():
    class OnlyInit(nn.Module):
        @nn.compact
        def __call__(self, x):
            assert self.is_initializing()
            return nn.Dense(2)(x)

    variables, _ = from_torch(OnlyInit(), _dense_state(), X)
    assert variables["params"]["Dense_0"]["kernel"].shape == (3, 2)


def test_stacked_variables_stay_in_their_boxes():
    init = nn.with_partitioning(nn.initializers.zeros, ("x", None))

    class Boxed(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.Dense(3, kernel_init=init)(x), None

    cls = scanned(Boxed, 2, metadata_params={nn.PARTITION_NAME: "layers"})
    state = _dense_state("0", 3, 3) | _dense_state("1", 3, 3)
    model = Stack(cls)
    variables, report = from_torch(model, state, X)
    kernel = variables["params"]["layers"]["Dense_0"]["kernel"]
    assert kernel.names == ("layers", "x", None)
    assert kernel.unbox().shape == (2, 3, 3)
    back, _ = to_torch(model, variables, like=report)
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array)


def test_variables_of_another_stack_are_refused():
    state, _ = recorded(STATE)
    variables, report = from_torch(_stack(), state, Y)
    fewer = jax.tree.map(lambda x: x[:5], variables)
    with pytest.raises(errors.TorchWeightsError, match=r"has the shape \(5, 4\)"):
        to_torch(_stack(), fewer, like=report)
