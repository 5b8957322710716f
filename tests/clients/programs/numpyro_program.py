"""numpyro: flax modules in models, fitted by SVI and sampled by NUTS."""

from __future__ import annotations

import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import flax_module, random_flax_module
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO, init_to_feasible
from record import Record


class Encoder(nn.Module):
    latent: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = nn.softplus(nn.Dense(16)(x))
        return nn.Dense(self.latent)(x), nn.softplus(nn.Dense(self.latent)(x)) + 1e-3


class Decoder(nn.Module):
    features: int

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        return nn.Dense(self.features)(nn.softplus(nn.Dense(16)(z)))


class Regression(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        # No bias, which BatchNorm would take away again: its gradient would be nothing
        # but rounding, of which Adam makes steps of full size.
        x = nn.Dense(8, use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.Dropout(0.2, deterministic=not train)(nn.tanh(x))
        return nn.Dense(1)(x)[..., 0]


class Small(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(1)(nn.tanh(nn.Dense(3, name="hidden")(x)))[..., 0]


def autoencoder(record: Record) -> None:
    x = (jax.random.uniform(jax.random.PRNGKey(0), (64, 12)) > 0.5).astype(float)

    def model(x):
        decode = flax_module("decoder", Decoder(12), input_shape=(2,))
        with numpyro.plate("batch", len(x)):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(2), 1).to_event(1))
            logits = decode(z)
            numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(x):
        encode = flax_module("encoder", Encoder(2), input_shape=(12,))
        loc, scale = encode(x)
        with numpyro.plate("batch", len(x)):
            numpyro.sample("z", dist.Normal(loc, scale).to_event(1))

    svi = SVI(model, guide, numpyro.optim.Adam(0.01), Trace_ELBO())
    state = svi.init(jax.random.PRNGKey(1), x)
    record.exact("autoencoder/initial", svi.get_params(state))
    result = svi.run(jax.random.PRNGKey(1), 100, x, progress_bar=False)
    record.close("autoencoder/losses", result.losses)
    record.close("autoencoder/trained", result.params)


def regression(record: Record) -> None:
    """With state that changes (batch statistics), and keys for dropout."""
    x = jax.random.normal(jax.random.PRNGKey(2), (48, 4))
    y = jnp.sin(x.sum(-1))

    def model(x, y):
        net = flax_module(
            "net",
            Regression(),
            x,
            apply_rng=["dropout"],
            mutable=["batch_stats"],
        )
        mean = net(x, rngs={"dropout": numpyro.prng_key()})
        with numpyro.plate("batch", len(x)):
            numpyro.sample("y", dist.Normal(mean, 0.1), obs=y)

    svi = SVI(model, lambda x, y: None, numpyro.optim.Adam(0.01), Trace_ELBO())
    state = svi.init(jax.random.PRNGKey(3), x, y)
    record.exact("regression/initial", svi.get_params(state))
    record.exact("regression/state", state.mutable_state)
    update = jax.jit(svi.update)
    for number in range(40):
        state, loss = update(state, x, y)
        record.close(f"regression/loss/{number}", loss)
    record.close("regression/trained", svi.get_params(state))
    record.close("regression/statistics", state.mutable_state)


def bayesian(record: Record) -> None:
    x = jnp.linspace(-1, 1, 24)[:, None]
    y = jnp.sin(3 * x[:, 0])

    def model(x, y=None):
        net = random_flax_module(
            "net",
            Small(),
            prior={
                "hidden.kernel": dist.Normal(0, 2),
                "hidden.bias": dist.Cauchy(),
                "Dense_0.kernel": dist.Normal(),
            },
            input_shape=(1,),
        )
        with numpyro.plate("batch", len(x)):
            numpyro.sample("y", dist.Normal(net(x), 0.2), obs=y)

    kernel = NUTS(model, max_tree_depth=5, init_strategy=init_to_feasible())
    mcmc = MCMC(kernel, num_warmup=20, num_samples=20, progress_bar=False)
    mcmc.run(jax.random.PRNGKey(4), x, y)
    samples = mcmc.get_samples()
    record.close("bayesian/samples", samples)
    predicted = Predictive(model, samples)(jax.random.PRNGKey(5), x)
    record.close("bayesian/predicted", predicted["y"])


if __name__ == "__main__":
    results = Record()
    autoencoder(results)
    regression(results)
    bayesian(results)
    results.save(sys.argv[1])
