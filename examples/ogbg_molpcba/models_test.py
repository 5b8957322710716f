import jax
import models
import numpy as np
import pytest
import train
from configs import default, small
from input_pipeline import pad
from plan import plan_state


@pytest.fixture
def network(tiny, rings):
    model = models.create_model(tiny)
    graphs = pad(rings[:16], 16, tiny)
    return model, model.init(jax.random.key(0), graphs), graphs


def test_one_logit_for_each_task(network):
    model, variables, graphs = network
    assert model.apply(variables, graphs).shape == (17, 2)


def test_more_padding_changes_nothing(network, tiny, rings):
    model, variables, graphs = network
    tiny.smallest_bucket = 1000
    more = pad(rings[:16], 16, tiny)
    assert len(more.nodes) > 2 * len(graphs.nodes)
    left, right = (model.apply(variables, g)[:16] for g in (graphs, more))
    np.testing.assert_allclose(left, right, atol=1e-5)


def test_molecules_of_a_batch_do_not_see_each_other(network, tiny, rings):
    model, variables, graphs = network
    alone = model.apply(variables, pad(rings[3:4], 16, tiny))
    together = model.apply(variables, graphs)
    np.testing.assert_allclose(alone[0], together[3], atol=1e-5)


def test_the_order_of_atoms_does_not_matter(network, tiny, rings):
    model, variables, _ = network
    molecule = rings[1]
    order = np.random.default_rng(0).permutation(len(molecule.atoms))
    place = np.argsort(order)
    other = molecule._replace(
        atoms=molecule.atoms[order],
        senders=place[molecule.senders].astype(np.int32),
        receivers=place[molecule.receivers].astype(np.int32),
    )
    left, right = (
        model.apply(variables, pad([m], 16, tiny)) for m in (molecule, other)
    )
    np.testing.assert_allclose(left[0], right[0], atol=1e-5)


def test_bonds_matter(network, tiny, rings):
    model, variables, _ = network
    bonds = rings[1].bonds.copy()
    bonds[:, 0] = 2
    left, right = (
        model.apply(variables, pad([m], 16, tiny))
        for m in (rings[1], rings[1]._replace(bonds=bonds))
    )
    assert abs(left[0] - right[0]).max() > 1e-3


def test_numbers_that_are_too_large_count_as_the_last(network, tiny, rings):
    model, variables, _ = network
    high, last = (
        rings[1]._replace(atoms=np.full_like(rings[1].atoms, value))
        for value in (10_000, 119)
    )
    left, right = (model.apply(variables, pad([m], 16, tiny)) for m in (high, last))
    np.testing.assert_array_equal(left[0], right[0])


def test_dropout_is_of_training_alone(network, tiny):
    _, variables, graphs = network
    tiny.dropout = 0.5
    model = models.create_model(tiny)
    whole = model.apply(variables, graphs)
    np.testing.assert_array_equal(whole, model.apply(variables, graphs))
    dropped = [
        model.apply(variables, graphs, train=True, rngs={"dropout": jax.random.key(s)})
        for s in (0, 1)
    ]
    assert abs(dropped[0] - dropped[1]).max() > 1e-3


def test_the_plan_of_the_full_task():
    config = default.get_config()
    state = train.abstract_state(config)
    assert state.params["head"]["kernel"].shape == (256, 128)
    number = sum(array.size for array in jax.tree.leaves(state.params))
    assert 3e6 < number < 6e6
    plan = plan_state(config)
    # Parameters, and two moments of each; the counters are few.
    assert 0 <= plan.bytes_per_device - 12 * number < 100
    assert "params/head/kernel" in str(plan)


def test_the_full_network_is_the_small_one_but_wider():
    full = train.abstract_state(default.get_config())
    config = small.get_config()
    config.layers = 5
    assert jax.tree.structure(train.abstract_state(config).params) == (
        jax.tree.structure(full.params)
    )
