"""SBX: PPO and SAC, some hundred steps on Pendulum each, saved and loaded again."""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import numpy as np
from record import Record
from sbx import PPO, SAC

ALGORITHMS: dict[str, tuple[Any, dict[str, Any], int]] = {
    "ppo": (PPO, {"n_steps": 64, "batch_size": 32, "n_epochs": 2}, 256),
    "sac": (SAC, {"learning_starts": 100, "batch_size": 32, "buffer_size": 1000}, 200),
}


def trees(model: Any) -> dict[str, Any]:
    """The parameters of a model, by the name of the network."""
    names = ("actor_state", "vf_state", "qf_state")
    found = {name: getattr(model.policy, name, None) for name in names}
    return {name: state.params for name, state in found.items() if state is not None}


def main(out: str) -> None:
    record = Record()
    for name, (algorithm, options, steps) in ALGORITHMS.items():
        options = {"policy_kwargs": {"net_arch": [16, 16]}, **options}
        model = algorithm("MlpPolicy", "Pendulum-v1", seed=1, device="cpu", **options)
        for network, params in trees(model).items():
            record.exact(f"{name}/{network}/initial", params)
        model.learn(steps)
        for network, params in trees(model).items():
            record.close(f"{name}/{network}/trained", params)
        observations = np.random.default_rng(0).standard_normal((5, 3))
        actions, _ = model.predict(observations.astype(np.float32), deterministic=True)
        record.close(f"{name}/actions", actions)
        with tempfile.TemporaryDirectory() as folder:
            model.save(f"{folder}/model")
            again = algorithm.load(f"{folder}/model", device="cpu")
        loaded, _ = again.predict(observations.astype(np.float32), deterministic=True)
        assert np.array_equal(loaded, actions)
    record.save(out)


if __name__ == "__main__":
    main(sys.argv[1])
