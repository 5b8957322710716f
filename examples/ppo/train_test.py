import json
import re
import subprocess
import sys
from pathlib import Path

import agent
import jax
import main
import numpy as np
import pytest
import train
from absl.testing import flagsaver
from configs import default, pong, small
from ml_collections import FrozenConfigDict
from PIL import Image

HERE = Path(__file__).parent


@pytest.fixture
def tiny():
    config = small.get_config()
    config.update(num_environments=4, total_steps=4 * 16 * 6, rollout_steps=16)
    config.update(width=8, num_epochs=2, checkpoint_every_rollouts=2, film_frames=3)
    return config


def assert_same(left, right):
    """Bit for bit."""
    paths = jax.tree_util.tree_leaves_with_path
    for (path, a), (other, b) in zip(paths(left), paths(right), strict=True):
        assert path == other
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def a_rollout(seed=0, steps=32, number=6):
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(5, steps, number)).astype(np.float32)
    return agent.Rollout(
        seen=rng.normal(size=(steps, number, 4)).astype(np.float32),
        actions=rng.integers(0, 2, size=(steps, number)),
        log_probs=np.full((steps, number), np.log(0.5), np.float32),
        values=normal[0],
        rewards=normal[1],
        over=(normal[2] > 1).astype(np.float32),
        next_values=normal[3, 0],
    )


def loop(rewards, values, over, next_values, gamma, lam):
    """The advantages by a plain loop."""
    steps, number = rewards.shape
    found = np.zeros((steps, number))
    for i in range(number):
        advantage = 0.0
        for t in reversed(range(steps)):
            following = next_values[i] if t == steps - 1 else values[t + 1, i]
            if over[t, i]:
                following, advantage = 0.0, 0.0
            delta = rewards[t, i] + gamma * following - values[t, i]
            advantage = delta + gamma * lam * advantage
            found[t, i] = advantage
    return found


@pytest.mark.parametrize(
    ("gamma", "lam"), [(0.99, 0.95), (0.9, 0.0), (1.0, 1.0), (0.5, 0.7)]
)
def test_advantages_are_those_of_a_plain_loop(gamma, lam):
    r = a_rollout()
    assert 0 < r.over.sum() < r.over.size
    args = (r.rewards, r.values, r.over, r.next_values)
    found = agent.generalized_advantages(*args, gamma, lam)
    np.testing.assert_allclose(found, loop(*args, gamma, lam), rtol=1e-4, atol=1e-4)


def test_with_lambda_one_advantages_are_returns_less_values():
    rewards = np.ones((3, 1), np.float32)
    values = np.array([[5.0], [6.0], [7.0]], np.float32)
    found = agent.generalized_advantages(
        rewards, values, np.zeros((3, 1)), np.array([10.0]), 1.0, 1.0
    )
    np.testing.assert_allclose(found[:, 0], [13 - 5, 12 - 6, 11 - 7])


def test_the_objective_does_not_reward_going_too_far():
    old = np.zeros(1, np.float32)

    def objective(ratio, advantage):
        log_probs = np.log(np.full(1, ratio, np.float32))
        return float(
            agent.clipped_objective(log_probs, old, np.array([advantage]), 0.2)
        )

    assert objective(1.1, 2.0) == pytest.approx(2.2)
    assert objective(1.5, 2.0) == pytest.approx(2.4)  # clipped
    assert objective(0.5, 2.0) == pytest.approx(1.0)  # not: it has got worse
    assert objective(0.5, -2.0) == pytest.approx(-1.6)  # clipped
    assert objective(1.5, -2.0) == pytest.approx(-3.0)


def test_one_update_improves_the_clipped_objective(tiny):
    tiny.update(num_epochs=10, width=32, total_steps=10_000)
    config = FrozenConfigDict(tiny)
    rollout = a_rollout()
    state = agent.create_state(config, 2, rollout.seen[0, 0], 0)
    logits, values = state.apply_fn({"params": state.params}, rollout.seen)
    every = jax.nn.log_softmax(logits)
    rollout = rollout._replace(
        log_probs=np.take_along_axis(
            np.asarray(every), rollout.actions[..., None], axis=-1
        )[..., 0],
        values=np.asarray(values),
    )
    samples = agent.samples_of(config, rollout)
    _, before = agent.loss_of(config, state, state.params, samples)
    after_state, _ = agent.update(config, state, rollout, jax.random.key(0))
    _, after = agent.loss_of(config, state, after_state.params, samples)
    assert float(before["objective"]) == pytest.approx(0, abs=1e-5)
    assert float(after["objective"]) > 0.01
    assert float(after["value_loss"]) < float(before["value_loss"])
    assert int(after_state.step) == config.num_epochs * config.num_minibatches


def test_every_sample_is_learnt_from_in_each_epoch(tiny):
    """With a rate of 0 the means of the minibatches are that of the whole."""
    tiny.learning_rate = 0.0
    config = FrozenConfigDict(tiny)
    rollout = a_rollout()
    state = agent.create_state(config, 2, rollout.seen[0, 0], 0)
    same, parts = agent.update(config, state, rollout, jax.random.key(0))
    assert_same(same.params, state.params)
    samples = agent.samples_of(config, rollout)
    _, whole = agent.loss_of(config, state, state.params, samples)
    for name in ("value_loss", "entropy"):
        assert float(parts[name]) == pytest.approx(float(whole[name]), rel=1e-4)


def test_it_learns_to_hold_the_pole(tmp_path):
    config = small.get_config()
    config.total_steps = 30_000
    _, history = train.train_and_evaluate(config, tmp_path)
    assert history[0]["mean_return"] < 50
    assert history[-1]["mean_return"] > 120
    assert json.loads((tmp_path / "history.json").read_text()) == history
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert list(tmp_path.glob("events.out.tfevents.*"))


def tiny_pong():
    """Ninety-six steps of Pong, with a narrow network."""
    config = pong.get_config()
    config.update(num_environments=2, rollout_steps=8, total_steps=2 * 8 * 6)
    config.update(width=8, channels=(2, 2, 2), num_epochs=2, num_minibatches=4)
    config.update(checkpoint_every_rollouts=2)
    return config


@pytest.mark.parametrize("game", ["CartPole", "Pong"])
def test_a_resumed_run_equals_the_uninterrupted_one(tiny, tmp_path, monkeypatch, game):
    config = tiny if game == "CartPole" else tiny_pong()
    whole, history = train.train_and_evaluate(config, tmp_path / "whole")
    real, played = train.play, []

    def stopped(*args):
        played.append(args)
        if len(played) > 5:  # one rollout after a checkpoint
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(train, "play", stopped)
        with pytest.raises(KeyboardInterrupt):
            train.train_and_evaluate(config, tmp_path / "parts")
    assert (tmp_path / "parts/checkpoints/checkpoint_4").exists()
    resumed, again = train.train_and_evaluate(config, tmp_path / "parts")
    assert int(resumed.step) == 6 * 2 * 4
    assert_same(resumed, whole)
    # No episode of Pong has ended yet: its mean return is NaN, which equals nothing.
    assert json.dumps(again) == json.dumps(history)


def test_atari_runs_through(tmp_path):
    config = default.get_config()
    config.update(num_environments=2, num_processes=2, rollout_steps=8)
    config.update(total_steps=32, width=8, channels=(2, 2, 2), num_minibatches=2)
    state, history = train.train_and_evaluate(config, tmp_path)
    assert [row["step"] for row in history] == [16, 32]
    assert int(state.step) == 2 * 3 * 2
    assert all(np.isfinite(row["value_loss"]) for row in history)


def test_minibatches_that_do_not_divide(tiny, tmp_path):
    tiny.num_minibatches = 7
    with pytest.raises(ValueError, match="is 7, which does not divide the 64 steps"):
        train.train_and_evaluate(tiny, tmp_path)


def test_main_films_a_game_and_prints_the_result(tiny, tmp_path, capsys):
    main.FLAGS(["main.py", f"--config={HERE}/configs/small.py"])
    with flagsaver.flagsaver(workdir=str(tmp_path)):
        main.FLAGS.config.update(tiny)
        main.main(["main.py"])
    output = capsys.readouterr().out
    assert re.search(r"last 100 episodes: \d+\.\d\nOf the first .*: +\d+\.\d\n", output)
    with Image.open(tmp_path / "play.gif") as film:
        assert film.size == (240, 120)
        assert 2 <= film.n_frames <= 3  # Two that are alike count as one.


def test_the_command_line():
    command = [sys.executable, HERE / "main.py", "--plan", "--config.width=32"]
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=HERE
    ).stdout
    assert "params/actor_head/kernel" in output
    assert re.search(r"32\D+6\b", output)
