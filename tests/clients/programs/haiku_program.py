"""dm-haiku's bridge: flax modules inside of Haiku functions, and the other way."""

from __future__ import annotations

import sys

import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import optax
from record import Record


class Block(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.BatchNorm(use_running_average=False, momentum=0.9)(x)
        y = nn.Dense(self.features)(nn.relu(y))
        return x + nn.Dropout(0.25, deterministic=False)(y)


class Attention(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.SelfAttention(num_heads=2, deterministic=True)(nn.LayerNorm()(x))


def lifted(x: jax.Array) -> jax.Array:
    """Haiku outside, flax inside; one flax module is called twice."""
    x = hk.Linear(8)(x)
    block = hk.experimental.flax.lift(Block(8), name="block")
    x = block(x, rngs={"dropout": hk.next_rng_key(), "params": hk.next_rng_key()})
    attention = hk.experimental.flax.lift(Attention(), name="attention")
    x = attention(attention(x[None]))[0]
    return hk.nets.MLP([16, 1])(x)[..., 0]


class Wrapped(nn.Module):
    """flax outside, Haiku inside."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Dense(8)(x)
        x = hk.experimental.flax.Module.create(hk.nets.MLP, [16, 8])(x)

        def stateful(x: jax.Array) -> jax.Array:
            x = hk.BatchNorm(True, True, 0.9)(x, is_training=True)
            return hk.dropout(hk.next_rng_key(), 0.25, hk.Linear(4)(x))

        x = hk.experimental.flax.Module(hk.transform_with_state(stateful))(x)
        return nn.Dense(1)(x)[..., 0]


def record_lifted(record: Record, x: jax.Array, y: jax.Array) -> None:
    function = hk.transform_with_state(lifted)
    key = jax.random.PRNGKey(0)
    params, state = function.init(key, x)
    record.exact("lifted/initial/params", params)
    record.exact("lifted/initial/state", state)
    # Not Adam: attention does not depend on the bias of its keys, whose gradient is
    # nothing but rounding, and Adam would make steps of full size of it.
    tx = optax.sgd(0.05, momentum=0.9)

    def loss_fn(params, state, key):
        out, state = function.apply(params, state, key, x)
        return jnp.mean((out - y) ** 2), state

    @jax.jit
    def step(params, state, opt_state, key):
        key, use = jax.random.split(key)
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, state), grads = grad_fn(params, state, use)
        updates, opt_state = tx.update(grads, opt_state)
        return optax.apply_updates(params, updates), state, opt_state, key, loss

    opt_state = tx.init(params)
    for number in range(8):
        params, state, opt_state, key, loss = step(params, state, opt_state, key)
        record.close(f"lifted/loss/{number}", loss)
    record.close("lifted/trained/params", params)
    record.close("lifted/trained/state", state)


def record_wrapped(record: Record, x: jax.Array, y: jax.Array) -> None:
    net = Wrapped()
    keys = {"params": jax.random.PRNGKey(1), "apply": jax.random.PRNGKey(2)}
    variables = net.init(keys, x)
    record.exact("wrapped/initial", variables)

    def loss_fn(params, rest, key):
        out, rest = net.apply(
            {"params": params, **rest},
            x,
            rngs={"apply": key},
            mutable=list(rest),
        )
        return jnp.mean((out - y) ** 2), rest

    rest = {name: value for name, value in variables.items() if name != "params"}
    params = variables["params"]
    grad_fn = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    for number in range(8):
        (loss, rest), grads = grad_fn(params, rest, jax.random.PRNGKey(number))
        params = jax.tree_util.tree_map(lambda p, g: p - 0.05 * g, params, grads)
        record.close(f"wrapped/loss/{number}", loss)
    record.close("wrapped/trained/params", params)
    record.close("wrapped/trained/rest", rest)
    flat = hk.experimental.flax.flatten_flax_to_haiku({"a": {"b": {"w": x}}})
    record.exact("flattened", flat)


if __name__ == "__main__":
    results = Record()
    inputs = jax.random.normal(jax.random.PRNGKey(5), (12, 6))
    record_lifted(results, inputs, jnp.sin(inputs.sum(-1)))
    record_wrapped(results, inputs, jnp.sin(inputs.sum(-1)))
    results.save(sys.argv[1])
