import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import agent
import environments
import jax
import numpy as np
import pytest
from configs import small
from input_pipeline import play
from workers import Players, WorkerError

HERE = Path(__file__).parent


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that has ended, but that nobody has waited for, does not count.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def ended(pids, seconds=20.0):
    """Whether all processes end in time."""
    deadline = time.monotonic() + seconds
    while any(map(is_there, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(is_there, pids))


@pytest.fixture
def players():
    with Players("CartPole-v1", 5, 2, seed=0) as made:
        yield made


def test_environments_are_shared_out(players):
    assert len(players.processes) == 2
    assert players.shares == [3, 2]
    assert players.num_actions == 2
    assert players.observations.shape == (5, 4)
    assert len({tuple(row) for row in players.observations.tolist()}) == 5
    played = players.step(np.array([0, 1, 0, 1, 0]))
    assert played.observations.shape == (5, 4)
    assert played.rewards.tolist() == [1.0] * 5
    assert not played.ended.any()


def test_how_many_processes_there_are_does_not_matter():
    found = []
    for processes in (1, 4):
        with Players("CartPole-v1", 4, processes, seed=3) as players:
            for step in range(30):
                played = players.step(np.arange(4) + step & 1)
            found.append((played.observations, played.ended))
    np.testing.assert_array_equal(found[0][0], found[1][0])


def test_an_episode_that_ends_is_followed_by_the_next(players):
    scores, lengths = [], []
    for _ in range(30):
        played = players.step(np.ones(5, int))  # always to the right
        scores += played.scores
        lengths += played.lengths
        # What is seen is the beginning of the next episode.
        assert (abs(played.observations[played.ended]) < 0.05).all()
    assert len(scores) >= 10
    assert scores == lengths
    assert all(8 <= length <= 11 for length in lengths)
    assert not played.last


def test_an_episode_that_is_cut_off_shows_what_was_last(players, monkeypatch):
    """CartPole is cut off after 500 steps: the counter is set to 499."""
    saved = []
    for blob, seen, score, length in players.save():
        environment = pickle.loads(blob)
        environment._elapsed_steps = 499
        saved.append((pickle.dumps(environment), seen, score, length))
    players.load(saved)
    played = players.step(np.zeros(5, int))
    assert played.cut.all()
    assert not played.ended.any()
    assert sorted(played.last) == [0, 1, 2, 3, 4]
    assert all((played.last[i] != played.observations[i]).any() for i in range(5))


@pytest.mark.parametrize("name", ["CartPole-v1", "ALE/Pong-v5"])
def test_what_was_saved_goes_on_the_same_way(name):
    with Players(name, 2, 2, seed=0) as players:
        rng = np.random.default_rng(0)
        actions = rng.integers(players.num_actions, size=(40, 2))
        for each in actions[:20]:
            players.step(each)
        saved = players.save()
        whole = [players.step(each) for each in actions[20:]]
    with Players(name, 2, 1, seed=7) as others:
        others.load(saved)
        again = [others.step(each) for each in actions[20:]]
    for left, right in zip(whole, again):
        np.testing.assert_array_equal(left.observations, right.observations)
        np.testing.assert_array_equal(left.rewards, right.rewards)
        assert left.scores == right.scores


def test_what_was_saved_of_pong_goes_on_over_the_end_of_a_game():
    """The next one begins with idle frames, whose number is drawn."""
    with Players("ALE/Pong-v5", 3, 2, seed=0) as players:
        saved = []
        for blob, seen, score, length in players.save():
            state, views, _, rng = pickle.loads(blob)
            frames = environments.Atari.most_frames - 10
            saved.append(
                (pickle.dumps((state, views, frames, rng)), seen, score, length)
            )
        found = []
        for _ in range(2):
            players.load(saved)
            found.append([players.step(np.full(3, 2)) for _ in range(12)])
    assert [played.cut.all() for played in found[0]] == [False] * 2 + [True] + [
        False
    ] * 9
    for one, other in zip(*found):
        np.testing.assert_array_equal(one.observations, other.observations)
        assert one.scores == other.scores
    begun = found[0][2].observations
    assert any((begun[0] != each).any() for each in begun[1:])


def test_another_number_of_environments_is_refused(players):
    saved = players.save()
    with pytest.raises(ValueError, match="4 environments were saved, and there are 5"):
        players.load(saved[:4])


def test_workers_end_when_they_are_closed(players):
    pids = [process.pid for process in players.processes]
    assert all(map(is_there, pids))
    processes = players.processes
    players.close()
    assert [process.returncode for process in processes] == [0, 0]
    assert not any(map(is_there, pids))
    players.close()  # once more does no harm
    with pytest.raises(WorkerError, match="have been closed"):
        players.step(np.zeros(5, int))


def test_workers_end_where_the_program_fails():
    with pytest.raises(ZeroDivisionError), Players("CartPole-v1", 2, 2, 0) as players:
        pids = [process.pid for process in players.processes]
        print(1 / 0)
    assert not any(map(is_there, pids))


def test_workers_end_where_the_program_is_killed():
    program = """
        import sys
        from workers import Players
        players = Players("CartPole-v1", 2, 2, 0)
        print(*(process.pid for process in players.processes), flush=True)
        sys.stdin.read()
    """
    running = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE,
    )
    assert running.stdout
    pids = [int(pid) for pid in running.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(is_there, pids))
    running.kill()
    running.communicate()
    assert ended(pids)


def test_a_worker_that_is_killed_is_named(players):
    players.processes[1].send_signal(signal.SIGKILL)
    players.processes[1].wait()
    with pytest.raises(WorkerError, match="Worker 1 has ended, with status -9"):
        players.step(np.zeros(5, int))


def test_what_a_worker_says_is_passed_on():
    with pytest.raises(WorkerError, match=r"Worker 0 failed:(.|\n)*NoSuchGame"):
        Players("NoSuchGame-v0", 2, 1, 0)


def test_an_action_that_there_is_not(players):
    with pytest.raises(WorkerError, match=r"Worker 0 failed:(.|\n)*AssertionError"):
        players.step(np.full(5, 7))


def test_a_rollout_holds_what_was_seen_done_and_won(players):
    config = small.get_config()
    config.update(rollout_steps=40, width=8)
    state = agent.create_state(config, 2, players.observations[0], 0)
    first = players.observations
    played = play(state, players, config, jax.random.key(0))
    rollout = played.rollout
    assert rollout.seen.shape == (40, 5, 4)
    np.testing.assert_array_equal(rollout.seen[0], first)
    assert {a.shape for a in rollout[1:6]} == {(40, 5)}
    assert set(np.unique(rollout.actions)) == {0, 1}
    logits, values = state.apply_fn({"params": state.params}, rollout.seen[7])
    np.testing.assert_allclose(rollout.values[7], values, rtol=1e-5)
    log_p = np.asarray(jax.nn.log_softmax(logits))
    picked = log_p[np.arange(5), rollout.actions[7]]
    np.testing.assert_allclose(rollout.log_probs[7], picked, rtol=1e-5)
    assert len(played.scores) == rollout.over.sum() > 0


def test_an_episode_that_is_cut_off_counts_what_would_have_come(players, monkeypatch):
    config = small.get_config()
    config.update(rollout_steps=1, width=8)
    state = agent.create_state(config, 2, players.observations[0], 0)
    real = players.step
    last = np.array([0.1, 0.2, 0.3, 0.4], np.float32)

    def step(actions):
        cut = np.array([False, True, False, False, False])
        return real(actions)._replace(cut=cut, last={1: last})

    monkeypatch.setattr(players, "step", step)
    rollout = play(state, players, config, jax.random.key(0)).rollout
    expected = float(agent.value_of(state, last[None])[0])
    np.testing.assert_allclose(
        rollout.rewards[0], [1, 1 + config.gamma * expected, 1, 1, 1], rtol=1e-5
    )
    assert rollout.over[0].tolist() == [0, 1, 0, 0, 0]


def test_pong_as_agents_see_it():
    game = environments.make("ALE/Pong-v5")
    seen = game.reset(0)
    assert (seen.shape, seen.dtype, game.num_actions) == ((84, 84, 4), np.uint8, 6)
    assert (seen == seen[..., :1]).all()
    frames = game.frames
    assert frames <= 30
    first = game.step(2)
    assert game.frames == frames + 4
    np.testing.assert_array_equal(first.observation[..., :3], seen[..., 1:])
    assert game.picture().shape == (210, 160, 3)
    # Nobody holds the paddle: the other side scores.
    outcomes = [game.step(0) for _ in range(120)]
    assert {o.reward for o in outcomes} == {0.0, -1.0}
    assert first.observation.std() > 5


def test_the_seed_decides_how_a_game_begins():
    game = environments.make("ALE/Pong-v5")
    frames = []
    for seed in (0, 0, *range(1, 8)):
        game.reset(seed)
        frames.append(game.frames)
    assert frames[0] == frames[1]
    assert len(set(frames)) > 3
