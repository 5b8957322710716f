"""netket: ground states of spin chains, by variational Monte Carlo with flax models."""

from __future__ import annotations

import sys
import tempfile

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from record import Record

SITES = 8


class Jastrow(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1], x.shape[-1])
        kernel = self.param("kernel", nn.initializers.normal(0.05), shape, float)
        return jnp.einsum("...i,ij,...j", x, kernel, x)


class Deep(nn.Module):
    features: int = 12

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = x[..., None].astype(float)
        y = nn.Conv(4, (3,), padding="CIRCULAR", param_dtype=float)(y)
        y = nn.LayerNorm(param_dtype=float)(nn.gelu(y)).reshape(*x.shape[:-1], -1)
        y = nn.gelu(nn.Dense(self.features, param_dtype=float)(y))
        # No bias: a factor of the whole wave function, whose gradient is only rounding.
        y = nn.Dense(1, use_bias=False, param_dtype=float)(y)[..., 0]
        return y + Jastrow(name="pairs")(x)


MODELS = {
    "deep": Deep(),
    "rbm": nk.models.RBM(alpha=1, param_dtype=complex),
    "autoregressive": nk.models.ARNNDense(
        hilbert=nk.hilbert.Spin(0.5, SITES), layers=2, features=8
    ),
}


def main(out: str) -> None:
    record = Record()
    hilbert = nk.hilbert.Spin(s=0.5, N=SITES)
    energy = nk.operator.Ising(hilbert, nk.graph.Chain(SITES), h=1.0)
    for name, model in MODELS.items():
        sampler = (
            nk.sampler.ARDirectSampler(hilbert)
            if name == "autoregressive"
            else nk.sampler.MetropolisLocal(hilbert, n_chains=16)
        )
        state = nk.vqs.MCState(sampler, model, n_samples=256, seed=1, sampler_seed=2)
        record.exact(f"{name}/initial", state.parameters)
        driver = nk.driver.VMC(
            energy,
            nk.optimizer.Sgd(0.02),
            variational_state=state,
            # A direct solver: the default one stops where it is near enough, and
            # would show how it rounded.
            preconditioner=nk.optimizer.SR(
                diag_shift=0.01,
                qgt=nk.optimizer.qgt.QGTJacobianDense(
                    holomorphic=True if name == "rbm" else None
                ),
                solver=nk.optimizer.solver.cholesky,
            ),
        )
        log = nk.logging.RuntimeLog()
        driver.run(6, out=log, show_progress=False)
        record.close(f"{name}/energies", np.asarray(log.data["Energy"]["Mean"]))
        record.close(f"{name}/trained", state.parameters)
        record.close(f"{name}/amplitudes", state.log_value(hilbert.all_states()))

        stored = flax.serialization.to_bytes(state)
        other = nk.vqs.MCState(sampler, model, n_samples=256, seed=3, sampler_seed=4)
        other = flax.serialization.from_bytes(other, stored)
        assert np.array_equal(state.samples, other.samples)
        with tempfile.TemporaryDirectory() as folder:
            log.serialize(f"{folder}/log")
    record.save(out)


if __name__ == "__main__":
    main(sys.argv[1])
