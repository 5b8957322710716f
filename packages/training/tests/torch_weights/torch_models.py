"""The same models in PyTorch, with the names of parameters that torchvision gives.

Written from the papers (He et al., 2015; Dosovitskiy et al., 2020).
"""

import torch
import torch.nn.functional as F
from torch import nn


class BasicBlock(nn.Module):
    def __init__(self, inp, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inp, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1 or inp != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(inp, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inp = 64
        for i, out in enumerate((64, 128, 256, 512), 1):
            setattr(
                self,
                f"layer{i}",
                nn.Sequential(
                    BasicBlock(inp, out, 1 if i == 1 else 2), BasicBlock(out, out, 1)
                ),
            )
            inp = out
        self.fc = nn.Linear(512, 1000)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(x.mean((2, 3)))


class EncoderBlock(nn.Module):
    def __init__(self, d, h, m):
        super().__init__()
        self.ln_1 = nn.LayerNorm(d, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(d, h, batch_first=True)
        self.ln_2 = nn.LayerNorm(d, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(d, m),
            nn.GELU(),
            nn.Dropout(0.0),
            nn.Linear(m, d),
            nn.Dropout(0.0),
        )

    def forward(self, x):
        y = self.ln_1(x)
        x = x + self.self_attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    def __init__(self, n, d, h, m, seq):
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.randn(1, seq, d) * 0.02)
        self.layers = nn.Sequential()
        for i in range(n):
            self.layers.add_module(f"encoder_layer_{i}", EncoderBlock(d, h, m))
        self.ln = nn.LayerNorm(d, eps=1e-6)

    def forward(self, x):
        return self.ln(self.layers(x + self.pos_embedding))


class ViT(nn.Module):
    def __init__(self, n=12, d=192, h=3, m=768, p=16, size=64, classes=1000):
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(1, 1, d))
        self.conv_proj = nn.Conv2d(3, d, p, p)
        self.encoder = Encoder(n, d, h, m, (size // p) ** 2 + 1)
        self.heads = nn.Sequential()
        self.heads.add_module("head", nn.Linear(d, classes))

    def forward(self, x):
        x = self.conv_proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)
        return self.heads(self.encoder(x)[:, 0])


class Tagger(nn.Module):
    def __init__(self, v=100, d=32, h=64, tags=9):
        super().__init__()
        self.embedding = nn.Embedding(v, d)
        self.lstm = nn.LSTM(d, h, num_layers=2, bidirectional=True, batch_first=True)
        self.hidden2tag = nn.Linear(2 * h, tags)

    def forward(self, x):
        return self.hidden2tag(self.lstm(self.embedding(x))[0])


class MLP(nn.Module):
    def __init__(self, n=6, out=7):
        super().__init__()
        self.norm = nn.LayerNorm(n)
        self.fc1 = nn.Linear(n, 16)
        self.fc2 = nn.Linear(16, out)

    def forward(self, x):
        return self.fc2(torch.tanh(self.fc1(self.norm(x))))


class Ensemble(nn.Module):
    def __init__(self, n=5):
        super().__init__()
        self.members = nn.ModuleList(MLP() for _ in range(n))

    def forward(self, x):
        return torch.stack([member(x) for member in self.members])


class RecurrentStack(nn.Module):
    def __init__(self, h=8, n=3):
        super().__init__()
        self.rnn = nn.LSTM(h, h, num_layers=n, batch_first=True)
        self.head = nn.Linear(h, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


def randomize(m):
    torch.manual_seed(0)
    for mod in m.modules():
        if isinstance(mod, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(mod.running_mean, -0.3, 0.3)
            nn.init.uniform_(mod.running_var, 0.6, 1.5)
    for p in m.parameters():
        if p.ndim == 1:
            p.data += 0.1 * torch.randn_like(p)
    return m.eval()
