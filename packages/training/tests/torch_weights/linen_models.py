"""Models of Linen as one would write them, with the names that one would give."""

import functools

import jax.numpy as jnp

import batiste.linen as nn


class Block(nn.Module):
    features: int
    stride: int
    first: bool = False
    auto: bool = False

    @nn.compact
    def __call__(self, x):
        norm = functools.partial(nn.BatchNorm, use_running_average=True, epsilon=1e-5)
        n = (lambda s: None) if self.auto else (lambda s: s)

        def shortcut(x):
            if self.stride != 1 or x.shape[-1] != self.features:
                x = nn.Conv(
                    self.features,
                    (1, 1),
                    self.stride,
                    use_bias=False,
                    name=n("conv_proj"),
                )(x)
                x = norm(name=n("norm_proj"))(x)
            return x

        r = shortcut(x) if self.first else None
        y = nn.relu(
            norm()(
                nn.Conv(self.features, (3, 3), self.stride, padding=1, use_bias=False)(
                    x
                )
            )
        )
        y = norm()(nn.Conv(self.features, (3, 3), padding=1, use_bias=False)(y))
        return nn.relu(y + (r if self.first else shortcut(x)))


class ResNet(nn.Module):
    first: bool = False
    auto: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(64, (7, 7), 2, padding=3, use_bias=False, name="conv_init")(x)
        x = nn.relu(
            nn.BatchNorm(use_running_average=True, epsilon=1e-5, name="bn_init")(x)
        )
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for i, f in enumerate((64, 128, 256, 512)):
            for j in range(2):
                x = Block(f, 2 if i and not j else 1, self.first, self.auto)(x)
        return nn.Dense(1000, name="head")(x.mean((1, 2)))


class EncoderBlock(nn.Module):
    heads: int
    mlp: int

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm(name="attention_norm")(x)
        x = x + nn.MultiHeadDotProductAttention(self.heads, name="attention")(y, y)
        y = nn.LayerNorm(name="mlp_norm")(x)
        y = nn.Dense(self.mlp, name="mlp_in")(y)
        return x + nn.Dense(x.shape[-1], name="mlp_out")(nn.gelu(y, approximate=False))


class ViT(nn.Module):
    layers: int = 12
    dim: int = 192
    heads: int = 3
    mlp: int = 768
    patch: int = 16
    classes: int = 1000

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(
            self.dim, (self.patch,) * 2, self.patch, padding="VALID", name="embedding"
        )(x)
        x = x.reshape(len(x), -1, self.dim)
        cls = self.param("cls", nn.initializers.zeros, (1, 1, self.dim))
        x = jnp.concatenate([jnp.tile(cls, (len(x), 1, 1)), x], 1)
        x = x + self.param(
            "pos_embedding", nn.initializers.normal(0.02), (1, x.shape[1], self.dim)
        )
        for i in range(self.layers):
            x = EncoderBlock(self.heads, self.mlp, name=f"encoder_block_{i}")(x)
        return nn.Dense(self.classes, name="head")(
            nn.LayerNorm(name="encoder_norm")(x)[:, 0]
        )


class Tagger(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Embed(100, 32, name="embed")(x)
        for i in range(2):
            x = nn.Bidirectional(
                nn.RNN(nn.OptimizedLSTMCell(64, name=f"forward_{i}")),
                nn.RNN(nn.OptimizedLSTMCell(64, name=f"backward_{i}")),
            )(x)
        return nn.Dense(9, name="tags")(x)


class GPTBlock(nn.Module):
    heads: int

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm(epsilon=1e-5)(x)
        x = x + nn.MultiHeadDotProductAttention(self.heads, name="attention")(
            y, y, mask=nn.make_causal_mask(jnp.ones(x.shape[:2]))
        )
        y = nn.LayerNorm(epsilon=1e-5)(x)
        y = nn.gelu(nn.Dense(4 * x.shape[-1])(y), approximate=True)
        return x + nn.Dense(x.shape[-1])(y)


class GPT(nn.Module):
    vocab: int
    length: int
    layers: int
    dim: int
    heads: int

    @nn.compact
    def __call__(self, ids):
        embed = nn.Embed(self.vocab, self.dim, name="token_embed")
        x = embed(ids) + nn.Embed(self.length, self.dim, name="position_embed")(
            jnp.arange(ids.shape[1])
        )
        for i in range(self.layers):
            x = GPTBlock(self.heads, name=f"block_{i}")(x)
        return embed.attend(nn.LayerNorm(epsilon=1e-5, name="final_norm")(x))


class BertLayer(nn.Module):
    heads: int
    mlp: int

    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm(epsilon=1e-12, name="attention_norm")(
            x + nn.MultiHeadDotProductAttention(self.heads, name="attention")(x, x)
        )
        y = nn.Dense(x.shape[-1], name="output")(
            nn.gelu(nn.Dense(self.mlp, name="intermediate")(x), approximate=False)
        )
        return nn.LayerNorm(epsilon=1e-12, name="output_norm")(x + y)


class Bert(nn.Module):
    vocab: int
    length: int
    layers: int
    dim: int
    heads: int
    mlp: int

    @nn.compact
    def __call__(self, ids):
        x = nn.Embed(self.vocab, self.dim, name="word_embed")(ids)
        x = (
            x
            + nn.Embed(2, self.dim, name="type_embed")(jnp.zeros_like(ids))
            + nn.Embed(self.length, self.dim, name="position_embed")(
                jnp.arange(ids.shape[1])
            )
        )
        x = nn.LayerNorm(epsilon=1e-12, name="embed_norm")(x)
        for i in range(self.layers):
            x = BertLayer(self.heads, self.mlp, name=f"layer_{i}")(x)
        return x, nn.tanh(nn.Dense(self.dim, name="pooler")(x[:, 0]))


class _ScannedBlock(nn.Module):
    heads: int

    @nn.compact
    def __call__(self, x, _):
        return GPTBlock(self.heads, name="block")(x), None


class ScannedGPT(nn.Module):
    """GPT whose blocks are one, scanned; by twos, if asked for."""

    vocab: int
    length: int
    layers: int
    dim: int
    heads: int
    axis: int = 0
    twos: bool = False

    @nn.compact
    def __call__(self, ids):
        embed = nn.Embed(self.vocab, self.dim, name="token_embed")
        x = embed(ids) + nn.Embed(self.length, self.dim, name="position_embed")(
            jnp.arange(ids.shape[1])
        )

        def scanned(cls, length):
            return nn.scan(
                cls,
                variable_axes={"params": self.axis},
                split_rngs={"params": True},
                length=length,
            )

        cls = scanned(_ScannedBlock, 2 if self.twos else self.layers)
        if self.twos:
            cls = scanned(cls, self.layers // 2)
        x, _ = cls(self.heads, name="blocks")(x, None)
        return embed.attend(nn.LayerNorm(epsilon=1e-5, name="final_norm")(x))


class _MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(7)(nn.tanh(nn.Dense(16)(nn.LayerNorm(epsilon=1e-5)(x))))


class Ensemble(nn.Module):
    """MLPs of the same input, whose outputs are side by side."""

    @nn.compact
    def __call__(self, x):
        members = nn.vmap(
            _MLP,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=None,
            out_axes=0,
            axis_size=5,
        )
        return members(name="members")(x)


class _RecurrentLayer(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x, _):
        return nn.RNN(nn.OptimizedLSTMCell(self.features), name="rnn")(x), None


class RecurrentStack(nn.Module):
    """Layers of LSTM, scanned."""

    features: int
    layers: int

    @nn.compact
    def __call__(self, x):
        stack = nn.scan(
            _RecurrentLayer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=self.layers,
        )
        return nn.Dense(3, name="head")(stack(self.features, name="layers")(x, None)[0])
