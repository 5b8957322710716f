"""Records what PyTorch computes: `python record.py`, where torch is installed."""

import cases
import numpy as np
import torch
from torch import nn


class Attention(nn.Module):
    """Attention with the layers that it is given."""

    def __init__(self, layers, qkv, out, in_three="last"):
        super().__init__()
        self.names, self.last, self.in_three = qkv, out, in_three
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        found = [getattr(self, name)(x) for name in self.names]
        if len(found) == 1 and self.in_three == "heads":
            q, k, v = found[0].reshape(*x.shape[:2], 2, 3, -1).unbind(3)
        else:
            parts = found[0].chunk(3, -1) if len(found) == 1 else found
            q, k, v = (part.reshape(*x.shape[:2], 2, -1) for part in parts)
        q, k, v = (a.transpose(1, 2) for a in (q, k, v))
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return getattr(self, self.last)(y.transpose(1, 2).reshape(x.shape))


class Conv1D(nn.Module):
    """The layer of GPT-2: its weight is (in, out)."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_in, n_out) / 2)
        self.bias = nn.Parameter(torch.randn(n_out))

    def forward(self, x):
        return x @ self.weight + self.bias


class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.self_attn(x, x, x, need_weights=False)[0]


class First(nn.Module):
    """The first of what a recurrent layer returns."""

    def __init__(self, layer):
        super().__init__()
        self.rnn = layer

    def forward(self, x):
        return self.rnn(x)[0]


class Steps(nn.Module):
    """A cell, run by hand."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(4, 4)

    def forward(self, x):
        state, found = None, []
        for i in range(x.shape[1]):
            state = self.cell(x[:, i], state)
            found.append(state[0])
        return torch.stack(found, 1)


class Values(nn.Module):
    def __init__(self):
        super().__init__()
        self.pos = nn.Parameter(torch.randn(5, 4))
        self.mix = nn.Parameter(torch.randn(5, 4))
        self.affine = nn.Module()
        self.affine.weight = nn.Parameter(torch.randn(5))
        self.affine.bias = nn.Parameter(torch.randn(5))

    def forward(self, x):
        x = (x + self.pos) @ self.mix.T
        return x * self.affine.weight + self.affine.bias


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 4)

    def forward(self, x):
        return self.fc(x.flatten(1)).reshape(-1, 2, 2)


class Flattened(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)
        self.fc = nn.Linear(4 * 4 * 3, 5)

    def forward(self, x):
        return self.fc(self.conv(x).flatten(1))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(4)
        self.gain = nn.Parameter(torch.randn(4))
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        y = self.bn(x.transpose(1, 2)).transpose(1, 2) * self.gain
        return x + torch.tanh(self.fc(y))


class Members(nn.Module):
    def __init__(self):
        super().__init__()
        self.members = nn.ModuleList(Layer() for _ in range(3))

    def forward(self, x):
        return torch.stack([member(x) for member in self.members])


def _layers(n):
    return nn.Sequential(*(Layer() for _ in range(n)))


def _linears(*names):
    return {name: nn.Linear(4, 4) for name in names}


def _norm(layer):
    return nn.Sequential(nn.Conv2d(4, 4, 1), layer)


def _recurrent(kind, **options):
    return First(kind(4, 4, batch_first=True, **options))


def models():
    """The models by name."""
    torch.manual_seed(0)
    one = {"proj": nn.Linear(4, 4)}
    heads = {"query_key_value": nn.Linear(4, 12), "dense": nn.Linear(4, 4)}
    conv1d = {"c_attn": Conv1D(4, 12), "c_proj": Conv1D(4, 4)}
    odd = ("k_proj", "v_proj", "q_proj", "out_proj")
    of_bert = ("query", "key", "value", "output")
    return {
        "attention_fused": Fused(),
        "attention_separate": Attention(_linears(*odd), ["q_proj", *odd[:2]], odd[3]),
        "attention_qkv": Attention({"qkv": nn.Linear(4, 12), **one}, ["qkv"], "proj"),
        "attention_of_heads": Attention(heads, ["query_key_value"], "dense", "heads"),
        "attention_conv1d": Attention(conv1d, ["c_attn"], "c_proj"),
        "attention_conv1d_dense": Attention(conv1d, ["c_attn"], "c_proj"),
        "attention_joined": Attention(_linears(*of_bert), of_bert[:3], "output"),
        "attention_dense": Attention({"qkv": nn.Linear(4, 12), **one}, ["qkv"], "proj"),
        "batch_norm": _norm(nn.BatchNorm2d(4)),
        "batch_norm_plain": _norm(nn.BatchNorm2d(4, affine=False)),
        "conv": nn.Conv2d(4, 4, 3, 2, 1),
        "conv_1d": nn.Conv1d(4, 4, 3, bias=False),
        "conv_as_dense": nn.Conv2d(4, 4, 1),
        "conv_grouped": nn.Conv2d(4, 4, 3, groups=2),
        "conv_transpose": nn.ConvTranspose2d(4, 4, 3, 2),
        "conv_transpose_flipped": nn.ConvTranspose2d(4, 4, 3, 2),
        "dense": nn.Linear(4, 4),
        "dense_general": Heads(),
        "embed": nn.Embedding(7, 4),
        "flatten": Flattened(),
        "group_norm": _norm(nn.GroupNorm(2, 4)),
        "gru": _recurrent(nn.GRU, bidirectional=True),
        "gru_without_bias": _recurrent(nn.GRU, bias=False),
        "instance_norm": _norm(nn.InstanceNorm2d(4, affine=True)),
        "layer_norm": nn.LayerNorm(4),
        "lstm": _recurrent(nn.LSTM, bidirectional=True),
        "lstm_cell": Steps(),
        "prelu": nn.PReLU(),
        "rms_norm": nn.RMSNorm(4, eps=1e-6),
        "rnn": _recurrent(nn.RNN),
        "values": Values(),
        "scan": _layers(6),
        "scan_axes": _layers(6),
        "scan_backward": _layers(6),
        "scan_in_scan": _layers(6),
        "scan_lstm": _recurrent(nn.LSTM, num_layers=3),
        "vmap": Members(),
    }


def main():
    """Writes the file."""
    arrays = {}
    for name, model in models().items():
        with torch.no_grad():
            for full, tensor in model.state_dict().items():
                if full.endswith("running_var"):
                    tensor.uniform_(0.5, 1.5)
                elif tensor.is_floating_point() and tensor.ndim == 1:
                    tensor.add_(torch.randn(tensor.shape) / 4)
                arrays[f"{name}:{full}"] = tensor.numpy().copy()
            x = cases.input_of(name)
            # Of arrays with channels, these come first.
            channels = any(
                isinstance(m, nn.modules.conv._ConvNd) for m in model.modules()
            )
            x = np.ascontiguousarray(np.moveaxis(x, -1, 1)) if channels else x
            y = model.eval()(torch.from_numpy(x)).numpy()
        y = np.moveaxis(y, 1, -1) if channels and y.ndim > 2 else y
        arrays[f"{name}:output"] = y
    cases.FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(cases.FILE, **arrays)


if __name__ == "__main__":
    main()
