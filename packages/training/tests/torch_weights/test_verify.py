"""What differs is found, layer by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import batiste.linen as nn
from batiste.training import errors, from_torch, to_torch

torch = pytest.importorskip("torch")

X = jax.ShapeDtypeStruct((2, 6, 6, 3), jnp.float32)


class Net(nn.Module):
    epsilon: float = 1e-5
    slope: float = 0.01
    double: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), padding=1, name="conv")(x)
        x = nn.leaky_relu(x, self.slope).mean((1, 2))
        x = nn.LayerNorm(self.epsilon, name="norm")(x)
        x = nn.Dense(3, name="head")(x)
        return 2 * x if self.double else x


class Theirs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.norm = torch.nn.LayerNorm(4)
        self.drop = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(4, 3)
        with torch.no_grad():
            self.conv.weight.mul_(0.1)
            self.conv.bias.fill_(0.01)

    def forward(self, x, scale=1.0):
        x = torch.nn.functional.leaky_relu(self.conv(x)).mean((2, 3))
        return self.head(self.drop(self.norm(x))) * scale


def test_they_agree_and_the_module_is_as_it_was():
    theirs = Theirs().train()
    before = {k: x.clone() for k, x in theirs.state_dict().items()}
    variables, report = from_torch(Net(), theirs, X, verify=True)
    assert report.difference < 1e-5
    assert theirs.training
    assert theirs.drop.training
    doubled = jax.tree.map(lambda x: 2 * x, variables)
    _, again = to_torch(Net(), doubled, X, like=theirs, verify=True)
    assert again.difference < 1e-5
    assert all(torch.equal(x, before[k]) for k, x in theirs.state_dict().items())
    assert not theirs.conv._forward_hooks


def test_a_module_to_compare_with_may_be_another_argument():
    theirs = Theirs()
    _, report = from_torch(Net(), theirs.state_dict(), X, verify=theirs)
    assert report.difference < 1e-5
    with torch.no_grad():
        theirs.head.bias.add_(1)
    other = Theirs().state_dict()
    with pytest.raises(errors.TorchOutputsDifferError) as caught:
        from_torch(Net(), other, X, verify=theirs)
    assert caught.value.layer == "head"
    assert 0.9 < caught.value.difference < 1.1


def test_another_epsilon_is_named():
    with pytest.raises(errors.TorchOutputsDifferError) as caught:
        from_torch(Net(epsilon=0.1), Theirs(), X, verify=True)
    assert caught.value.layer == "norm"
    assert 'The first layer that differs is "norm" ("norm" in PyTorch)' in str(
        caught.value
    )
    assert "What goes into it agrees: its epsilon is 0.1 here and 1e-05 there." in str(
        caught.value
    )


def test_another_setting_is_asked_about():
    model = nn.Sequential([nn.Conv(4, (3, 3), padding="VALID")])
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1))
    with pytest.raises(
        errors.TorchOutputsDifferError, match="the layer itself: compare"
    ):
        from_torch(model, theirs, X, verify=True)


def test_what_lies_between_layers_is_named():
    with pytest.raises(errors.TorchOutputsDifferError) as caught:
        from_torch(Net(slope=0.9), Theirs(), X, verify=True)
    assert caught.value.layer == "norm"
    assert 'differs already: look at what is between "conv" and it' in str(caught.value)


def test_what_comes_after_the_last_layer_is_named():
    with pytest.raises(errors.TorchOutputsDifferError) as caught:
        from_torch(Net(double=True), Theirs(), X, verify=True)
    assert caught.value.layer == ""
    assert 'look at what comes after "head"' in str(caught.value)


def test_arguments_of_the_torch_module_can_be_made():
    def inputs(x):
        return {"x": np.moveaxis(x, -1, 1).copy(), "scale": 2.0}

    _, report = from_torch(
        Net(double=True), Theirs(), X, verify=True, torch_inputs=inputs
    )
    assert report.difference < 1e-5
    with pytest.raises(errors.TorchOutputsDifferError):
        from_torch(Net(double=True), Theirs(), X, verify=True, tolerance=1e-3)


def test_integers_are_those_of_the_examples():
    model = nn.Sequential([nn.Embed(9, 4), nn.Dense(2)])
    theirs = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 2))
    for ids in (jnp.array([[1, 8]]), jax.ShapeDtypeStruct((1, 2), jnp.int32)):
        _, report = from_torch(model, theirs, ids, verify=True)
        assert report.difference < 1e-5


class Blocks(nn.Module):
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x):
        def body(model, carry, _):
            y = nn.LayerNorm(self.epsilon, name="norm")(carry)
            return carry + nn.Dense(4, name="fc")(y), None

        scan = nn.scan(
            body, variable_axes={"params": 0}, split_rngs={"params": True}, length=3
        )
        return scan(self, x, None)[0]


class Members(nn.Module):
    @nn.compact
    def __call__(self, x):
        both = nn.vmap(
            nn.Dense,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=None,
            axis_size=2,
        )
        return both(4, name="members")(x)


class TheirBlocks(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(4) for _ in range(3))
        self.fcs = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        for norm, fc in zip(self.norms, self.fcs, strict=True):
            x = x + fc(norm(x))
        return x


class TheirMembers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.members = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(2))

    def forward(self, x):
        return torch.stack([member(x) for member in self.members])


ROWS = jax.ShapeDtypeStruct((3, 4), jnp.float32)


def test_which_layer_of_a_scan_differs_is_named():
    theirs = TheirBlocks()
    _, report = from_torch(Blocks(), theirs, ROWS, verify=True)
    assert report.difference < 1e-5
    theirs.norms[1].eps = 0.5
    with pytest.raises(errors.TorchOutputsDifferError) as caught:
        from_torch(Blocks(), theirs, ROWS, verify=True)
    assert caught.value.layer == "[1]/norm"
    assert "its epsilon is 1e-05 here and 0.5 there" in str(caught.value)


def test_within_a_vmap_no_layer_can_be_compared():
    theirs = TheirMembers()
    variables, report = from_torch(Members(), theirs, ROWS, verify=True)
    assert report.difference < 1e-5
    _, again = to_torch(Members(), variables, ROWS, like=theirs, verify=True)
    assert again.difference < 1e-5
    with torch.no_grad():
        theirs.members[1].bias.add_(1)
    with pytest.raises(errors.TorchOutputsDifferError) as caught:
        from_torch(Members(), TheirMembers().state_dict(), ROWS, verify=theirs)
    assert str(caught.value) == (
        "Outputs differ by 1.0e+00, and no layer can be compared, as within nn.vmap."
    )
