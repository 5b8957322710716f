"""Models of PyTorch with random weights compute the same in Linen, and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.serialization import serialize
from batiste.training import errors, from_torch, to_torch

from . import linen_models

torch = pytest.importorskip("torch")

IMAGES = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
ROWS = jax.ShapeDtypeStruct((4, 6), jnp.float32)
SERIES = jax.ShapeDtypeStruct((2, 5, 8), jnp.float32)
IDS = jax.ShapeDtypeStruct((2, 12), jnp.int32)


def _own(name):
    from . import torch_models

    return torch_models.randomize(getattr(torch_models, name)())


def _gpt2():
    transformers = pytest.importorskip("transformers")
    from . import torch_models

    size = {"n_embd": 128, "n_layer": 4, "n_head": 4}
    config = transformers.GPT2Config(
        vocab_size=500, n_positions=64, **size, bos_token_id=0, eos_token_id=0
    )
    return torch_models.randomize(transformers.GPT2LMHeadModel(config))


def _bert():
    transformers = pytest.importorskip("transformers")
    from . import torch_models

    config = transformers.BertConfig(
        vocab_size=500,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=64,
    )
    return torch_models.randomize(transformers.BertModel(config))


SUMMED = ("tagger", "lstm_scanned")  # the two biases of each layer
CASES = {
    "resnet": (linen_models.ResNet(), lambda: _own("ResNet"), IMAGES),
    "resnet_shortcut_first": (
        linen_models.ResNet(first=True, auto=True),
        lambda: _own("ResNet"),
        IMAGES,
    ),
    "vit": (linen_models.ViT(), lambda: _own("ViT"), IMAGES),
    "tagger": (linen_models.Tagger(), lambda: _own("Tagger"), IDS),
    "gpt2": (linen_models.GPT(500, 64, 4, 128, 4), _gpt2, IDS),
    "gpt2_scanned": (linen_models.ScannedGPT(500, 64, 4, 128, 4), _gpt2, IDS),
    "gpt2_scanned_by_twos": (
        linen_models.ScannedGPT(500, 64, 4, 128, 4, axis=-1, twos=True),
        _gpt2,
        IDS,
    ),
    "ensemble": (linen_models.Ensemble(), lambda: _own("Ensemble"), ROWS),
    "lstm_scanned": (
        linen_models.RecurrentStack(8, 3),
        lambda: _own("RecurrentStack"),
        SERIES,
    ),
    "bert": (linen_models.Bert(500, 64, 4, 128, 4, 256), _bert, IDS),
}


@pytest.mark.parametrize("name", CASES)
def test_both_compute_the_same_both_ways(name):
    model, make, x = CASES[name]
    theirs = make()
    variables, report = from_torch(model, theirs, x, verify=True)
    assert report.difference < 1e-5
    # Without the classes of the modules it is the same.
    state = {key: tensor.numpy() for key, tensor in theirs.state_dict().items()}
    alone, _ = from_torch(model, state, x)
    assert jax.tree.all(jax.tree.map(np.array_equal, variables, alone))

    back, again = to_torch(model, variables, x, like=theirs, verify=True)
    assert again.difference < 1e-5
    assert list(back) == list(state)
    for key, tensor in back.items():
        assert torch.is_tensor(tensor)
        if not (name in SUMMED and ".bias_" in key):
            assert torch.equal(tensor, theirs.state_dict()[key])
    theirs.load_state_dict(back)


def test_a_file_in_alphabetical_order_needs_a_rule(tmp_path):
    state = {k: x.numpy() for k, x in _own("ResNet").state_dict().items()}
    file = tmp_path / "model.safetensors"
    serialize(dict(sorted(state.items())), file, format="safetensors", separator=None)
    variables, _ = from_torch(linen_models.ResNet(), state, IMAGES)
    # Names of which all say the same leave open which is the norm of the shortcut.
    with pytest.raises(errors.AmbiguousTorchWeightsError) as caught:
        from_torch(linen_models.ResNet(auto=True), file, IMAGES)
    assert "downsample" in str(caught.value)
    rules = {"layer*.downsample.1": "Block_*/BatchNorm_2"}
    auto, _ = from_torch(linen_models.ResNet(auto=True), file, IMAGES, rules=rules)
    there = auto["batch_stats"]["Block_2"]["BatchNorm_2"]["mean"]
    want = variables["batch_stats"]["Block_2"]["norm_proj"]["mean"]
    np.testing.assert_array_equal(there, want)


def test_a_file_of_bert_needs_none(tmp_path):
    state = {k: x.numpy() for k, x in _bert().state_dict().items()}
    file = tmp_path / "model.safetensors"
    serialize(dict(sorted(state.items())), file, format="safetensors", separator=None)
    model = CASES["bert"][0]
    one, _ = from_torch(model, file, IDS)
    other, _ = from_torch(model, state, IDS)
    assert jax.tree.all(jax.tree.map(np.array_equal, one, other))
