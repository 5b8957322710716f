"""brax: networks, a short PPO training, and its policy after a checkpoint."""

from __future__ import annotations

import functools
import sys
import tempfile

import jax
import jax.numpy as jnp
from brax import envs
from brax.training import networks
from brax.training.agents.ppo import checkpoint
from brax.training.agents.ppo import networks as ppo_networks
from brax.training.agents.ppo import train as ppo
from brax.training.agents.sac import networks as sac_networks
from flax import linen as nn
from record import Record


def record_networks(record: Record) -> None:
    key = jax.random.PRNGKey(0)
    observation = jax.random.normal(key, (5, 7))
    mlp = networks.MLP([16, 16, 3], activation=nn.swish, layer_norm=True)
    variables = mlp.init(key, observation)
    record.exact("mlp/initial", variables)
    record.close("mlp/output", mlp.apply(variables, observation))
    for name, build in {
        "ppo": ppo_networks.make_ppo_networks,
        "sac": sac_networks.make_sac_networks,
    }.items():
        made = build(observation_size=7, action_size=2)
        params = made.policy_network.init(key)
        record.exact(f"{name}/policy/initial", params)
        record.close(
            f"{name}/policy/output",
            made.policy_network.apply(None, params, observation),
        )
    params = made.q_network.init(key)
    record.exact("sac/q/initial", params)
    record.close(
        "sac/q/output",
        made.q_network.apply(None, params, observation, jnp.ones((5, 2))),
    )


def record_training(record: Record) -> None:
    progress = []
    with tempfile.TemporaryDirectory() as folder:
        make_policy, params, _ = ppo.train(
            environment=envs.get_environment("fast"),
            num_timesteps=4096,
            episode_length=64,
            num_envs=32,
            num_eval_envs=16,
            learning_rate=3e-3,
            unroll_length=8,
            batch_size=16,
            num_minibatches=4,
            num_updates_per_batch=2,
            normalize_observations=True,
            num_evals=3,
            seed=1,
            network_factory=functools.partial(
                ppo_networks.make_ppo_networks,
                policy_hidden_layer_sizes=(32, 32),
                value_hidden_layer_sizes=(32, 32),
            ),
            save_checkpoint_path=folder,
            progress_fn=lambda step, values: progress.append((step, values)),
        )
        steps = [step for step, _ in progress]
        saved = checkpoint.load(f"{folder}/{steps[-1]:012d}")
        observation = jax.random.normal(jax.random.PRNGKey(2), (3, 2))
        key = jax.random.PRNGKey(3)
        action, _ = make_policy(params, deterministic=True)(observation, key)
        again, _ = make_policy(saved, deterministic=True)(observation, key)
        assert jnp.array_equal(action, again)
    record.exact("training/steps", jnp.asarray(steps))
    for step, values in progress:
        # The rest of the values are rates per second.
        kept = {k: v for k, v in values.items() if "sps" not in k and "time" not in k}
        record.close(f"training/progress/{step}", kept)
    normalizer, policy, value = params
    record.close("training/policy", policy)
    record.close("training/value", value)
    record.close("training/normalizer", normalizer)
    record.close("training/action", action)


if __name__ == "__main__":
    results = Record()
    record_networks(results)
    record_training(results)
    results.save(sys.argv[1])
