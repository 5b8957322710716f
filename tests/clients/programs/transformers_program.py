"""Hugging Face transformers: its flax models with random weights.

Each is made from a small configuration, run, differentiated, saved and loaded again.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import transformers as hf
from flax.core import FrozenDict, freeze, unfreeze
from flax.traverse_util import flatten_dict
from record import Record

TEXT = dict(
    vocab_size=64,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=24,
)
IMAGE = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    image_size=16,
    patch_size=8,
)


def tokens(seed: int, length: int = 10) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, 60, (2, length)).astype(np.int32)


def pixels() -> np.ndarray:
    rng = np.random.default_rng(9)
    return rng.standard_normal((2, 3, 16, 16)).astype(np.float32)


def mask() -> np.ndarray:
    return np.array([[1] * 10, [1] * 7 + [0] * 3], np.int32)


def sound() -> np.ndarray:
    rng = np.random.default_rng(8)
    return rng.standard_normal((2, 8, 32)).astype(np.float32)


def models() -> dict[str, tuple[Any, dict[str, Any]]]:
    """By name: the model, and what it is called with."""
    bert = hf.BertConfig(**TEXT)
    gpt2 = hf.GPT2Config(
        vocab_size=64, n_positions=24, n_embd=32, n_layer=2, n_head=4, eos_token_id=1
    )
    vit = hf.ViTConfig(**IMAGE, num_labels=5)
    clip = hf.CLIPConfig(
        text_config={**TEXT, "eos_token_id": 1, "bos_token_id": 0},
        vision_config=IMAGE,
        projection_dim=16,
    )
    t5 = hf.T5Config(
        vocab_size=64,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
    )
    whisper = hf.WhisperConfig(
        vocab_size=64,
        num_mel_bins=8,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_source_positions=16,
        max_target_positions=24,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    text = {"input_ids": tokens(0), "attention_mask": mask()}
    decoder = {"decoder_input_ids": tokens(1, 6)}
    return {
        "bert": (hf.FlaxBertForMaskedLM(bert, seed=1), text),
        "bert_remat": (
            hf.FlaxBertForSequenceClassification(
                bert, seed=2, gradient_checkpointing=True
            ),
            text,
        ),
        "gpt2": (hf.FlaxGPT2LMHeadModel(gpt2, seed=3), text),
        "vit": (
            hf.FlaxViTForImageClassification(vit, seed=4, input_shape=(1, 16, 16, 3)),
            {"pixel_values": pixels()},
        ),
        "clip": (
            hf.FlaxCLIPModel(clip, seed=5, input_shape=((1, 10), (1, 16, 16, 3))),
            {**text, "pixel_values": pixels()},
        ),
        "t5": (hf.FlaxT5ForConditionalGeneration(t5, seed=6), {**text, **decoder}),
        "whisper": (
            hf.FlaxWhisperForConditionalGeneration(
                whisper, seed=7, input_shape=(1, 8, 32)
            ),
            {"input_features": sound(), **decoder},
        ),
    }


def outputs(found: Any) -> dict[str, jax.Array]:
    """The arrays of an answer, by name."""
    kept = {}
    for name, value in found.items():
        if isinstance(value, jax.Array):
            kept[name] = value
        elif name.endswith("hidden_states"):
            kept |= {f"{name}_{i}": each for i, each in enumerate(value)}
    return kept


def record_model(record: Record, name: str, model: Any, inputs: dict[str, Any]) -> None:
    assert isinstance(model.module, nn.Module)
    record.exact(f"{name}/initial", model.params)
    found = model(**inputs, output_hidden_states=True)
    record.close(f"{name}/output", outputs(found))
    first = "logits_per_image" if name == "clip" else "logits"

    def loss_fn(params: Any) -> jax.Array:
        found = model(
            **inputs,
            params=params,
            train=True,
            dropout_rng=jax.random.PRNGKey(0),
        )
        return jnp.mean(nn.log_softmax(found[first])[..., 0])

    loss, grads = jax.jit(jax.value_and_grad(loss_fn))(unfreeze(model.params))
    record.close(f"{name}/loss", loss)
    record.close(f"{name}/gradient", grads)

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with open(f"{folder}/flax_model.msgpack", "rb") as file:
            record.exact(f"{name}/file", np.frombuffer(file.read(), np.uint8))
        again = type(model).from_pretrained(folder)
        bare = type(model).from_pretrained(folder, dtype=jnp.bfloat16)
    ours, theirs = flatten_dict(model.params), flatten_dict(again.params)
    assert ours.keys() == theirs.keys()
    for path, value in ours.items():
        assert np.array_equal(value, theirs[path]), path
    record.close(f"{name}/loaded", outputs(again(**inputs)))
    record.exact(f"{name}/bfloat16", str(bare(**inputs)[first].dtype))
    half = model.to_bf16(model.params)
    record.exact(f"{name}/half", jax.tree_util.tree_map(np.float32, half))
    assert isinstance(freeze(unfreeze(half)), FrozenDict)


def main(out: str) -> None:
    record = Record()
    made_models = models()
    for name, (model, inputs) in made_models.items():
        record_model(record, name, model, inputs)

    gpt2, inputs = made_models["gpt2"]
    made = gpt2.generate(**inputs, max_length=16, pad_token_id=0)
    record.exact("generated/greedy", made.sequences)
    made = gpt2.generate(
        **inputs,
        max_length=16,
        pad_token_id=0,
        do_sample=True,
        prng_key=jax.random.key(0),
    )
    record.exact("generated/sampled", made.sequences)
    t5, inputs = made_models["t5"]
    inputs.pop("decoder_input_ids")
    made = t5.generate(**inputs, max_length=10, num_beams=2)
    record.exact("generated/beams", made.sequences)
    record.save(out)


if __name__ == "__main__":
    main(sys.argv[1])
