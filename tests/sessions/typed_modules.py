"""Modules as a user writes them, for the type checker: `nox -s lint` reads this file.

Nothing runs it. Each ignored error must be one, so that too lax types fail as well.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
# pyright: reportUnknownMemberType=false

import dataclasses
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, assert_type

import jax

from batiste import linen as nn

T = TypeVar("T")


class MLP(nn.Module):
    features: Sequence[int]
    act: Callable[[jax.Array], jax.Array] = jax.nn.relu
    tags: list[str] = dataclasses.field(default_factory=list[str])

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", jax.nn.initializers.ones, (1,))
        count = self.variable("state", "count", lambda: 0)
        count.value += 1
        for width in self.features:
            x = self.act(nn.Dense(width, name=f"layer_{width}")(x))
        return x * scale

    @nn.nowrap
    def depth(self) -> int:
        return len(self.features)


class Wide(MLP, kw_only=True):
    width: int


class Box(nn.Module, Generic[T]):
    value: T

    def setup(self) -> None:
        self.inner = MLP([1])

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.inner(x)


model = MLP([1, 2], name="mlp", parent=None)
assert_type(model, MLP)
assert_type(model.features, Sequence[int])
assert_type(model.name, str | None)
assert_type(model.depth(), int)
assert_type(model.clone(features=[3]), MLP)
assert_type(model.copy(), MLP)
assert_type(model.bind({}), MLP)
assert_type(model.bind({}).unbind()[0], MLP)
assert_type(Wide([1], width=3).width, int)
assert_type(Box(3).value, int)
assert_type(Box("text", name="box").value, str)

MLP()  # pyright: ignore[reportCallIssue]
MLP([1], features=[2])  # pyright: ignore[reportCallIssue]
MLP(3)  # pyright: ignore[reportArgumentType]
MLP([1], width=3)  # pyright: ignore[reportCallIssue]
Wide([1])  # pyright: ignore[reportCallIssue]
Box()  # pyright: ignore[reportCallIssue]
MLP([1], name=3)  # pyright: ignore[reportArgumentType]
