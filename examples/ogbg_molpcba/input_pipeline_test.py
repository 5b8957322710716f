import copy
import sys
import types

import input_pipeline
import jraph
import molecules
import numpy as np
import pytest
from configs import small
from input_pipeline import bucket, in_order, pad, prefetch, training_batch
from rdkit import Chem


def config_of(**changes):
    config = small.get_config()
    config.update(batch_size=8, smallest_bucket=64, **changes)
    return config


def test_atoms_and_bonds_of_a_molecule():
    """Acetamide, CC(=O)N: four atoms, three bonds."""
    found = molecules.featurize(Chem.MolFromSmiles("CC(=O)N"), np.ones(2))
    assert found.atoms[:, 0].tolist() == [5, 5, 7, 6]  # C, C, O, N, counted from 0
    assert found.atoms[:, 2].tolist() == [4, 3, 1, 3]  # neighbours, hydrogens too
    assert found.atoms[:, 4].tolist() == [3, 0, 0, 2]  # hydrogens
    assert found.senders.tolist() == [0, 1, 1, 2, 1, 3]
    assert found.receivers.tolist() == [1, 0, 2, 1, 3, 1]
    assert found.bonds[:, 0].tolist() == [0, 0, 1, 1, 0, 0]  # single, double, single
    assert found.bonds[:, 2].tolist() == [0, 0, 1, 1, 1, 1]  # conjugated


def test_aromatic_rings_charges_and_stereo():
    benzene = molecules.featurize(Chem.MolFromSmiles("c1ccccc1"), np.ones(1))
    assert (benzene.atoms[:, 7:] == 1).all()
    assert (benzene.bonds[:, 0] == 3).all()
    charged = molecules.featurize(Chem.MolFromSmiles("C[N+](C)(C)C"), np.ones(1))
    assert charged.atoms[:, 3].tolist() == [5, 6, 5, 5, 5]
    hands = [
        molecules.featurize(Chem.MolFromSmiles(s), np.ones(1)).atoms[1, 1]
        for s in ("C[C@H](N)O", "C[C@@H](N)O", "CC(N)O")
    ]
    assert len(set(hands)) == 3
    sides = [
        molecules.featurize(Chem.MolFromSmiles(s), np.ones(1)).bonds[2, 1]
        for s in ("C/C=C/C", r"C/C=C\C", "CC=CC")
    ]
    assert sides == [2, 1, 0]


@pytest.mark.parametrize(
    ("smiles", "true"),
    [
        (
            "CCCCCCCCCC",
            {"logP over 3", "six rotatable bonds", "half of the carbon sp3"},
        ),
        ("CC(=O)OC", {"ester", "half of the carbon sp3"}),
        ("CC(=O)NC", {"amide", "half of the carbon sp3"}),
        ("c1ccc(cc1)-c1ccccc1", {"logP over 3", "two aromatic rings"}),
        ("c1ccncc1", {"aromatic heterocycle"}),
        ("C1CC2CCC1C2", {"bridged rings", "half of the carbon sp3"}),
    ],
)
def test_properties(smiles, true):
    labels = molecules.properties(Chem.MolFromSmiles(smiles))
    found = {p for p, label in zip(molecules.PROPERTIES, labels) if label}
    assert found == true


def test_the_packaged_molecules(monkeypatch):
    monkeypatch.setattr(molecules, "properties", lambda molecule: np.zeros(12))
    splits = input_pipeline.load("nci")
    assert sorted(splits) == ["test", "train", "validation"]
    sizes = {name: len(part) for name, part in splits.items()}
    assert sizes == {"train": 3914, "validation": 489, "test": 489}
    for part in splits.values():
        for molecule in part:
            assert molecule.atoms.min() >= 0
            assert (molecule.atoms < molecules.ATOM_SIZES).all()
            assert (molecule.bonds < molecules.BOND_SIZES).all()
            assert molecule.senders.max() < len(molecule.atoms)


def test_the_benchmark_through_tensorflow_datasets(monkeypatch):
    """A source of the form that `tfds.data_source('ogbg_molpcba')` has."""
    labels = np.zeros(128, np.float32)
    labels[3] = np.nan
    example = {
        "num_nodes": np.array([3]),
        "num_edges": np.array([2]),
        "node_feat": np.arange(27, dtype=np.float32).reshape(3, 9),
        "edge_feat": np.array([[0, 0, 1], [1, 0, 0]], np.float32),
        "edge_index": np.array([[0, 1], [1, 2]]),
        "labels": labels,
    }
    asked = []

    def data_source(name, split):
        asked.append((name, split))
        return [example] * 4

    fake = types.SimpleNamespace(data_source=data_source)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    splits = input_pipeline.load("ogbg_molpcba")
    assert asked == [
        ("ogbg_molpcba", split) for split in ("train", "validation", "test")
    ]
    molecule = splits["train"][0]
    assert molecule.senders.tolist() == [0, 1, 1, 2]
    assert molecule.receivers.tolist() == [1, 2, 0, 1]
    assert molecule.bonds.tolist() == [[0, 0, 1], [1, 0, 0]] * 2
    assert molecule.atoms.dtype == np.int32
    graphs = pad([molecule], 1, config_of())
    assert graphs.globals["measured"][0].sum() == 127


def test_missing_packages_and_names(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="pip install tensorflow-datasets"):
        input_pipeline.load("ogbg_molpcba")
    with pytest.raises(ValueError, match="is 'zinc'. Choose 'nci' or 'ogbg_molpcba'"):
        input_pipeline.load("zinc")


def test_buckets_grow_by_a_quarter():
    sizes = {bucket(needed, 100) for needed in range(1, 400)}
    assert sorted(sizes) == [100, 125, 157, 197, 247, 309, 387, 484]
    assert all(bucket(needed, 100) >= needed for needed in range(1, 400))


def test_a_padded_batch_holds_its_molecules(rings):
    config = config_of()
    chosen = rings[:8]
    graphs = pad(chosen, 8, config)
    number = len(graphs.nodes)
    assert number == bucket(sum(len(m.atoms) for m in chosen) + 1, 64)
    assert len(graphs.edges) == len(graphs.senders) == -(-5 * number // 2)
    assert graphs.n_node.sum() == number
    assert graphs.n_edge.sum() == len(graphs.edges)
    apart = jraph.unbatch_np(copy.deepcopy(graphs))  # It works in place.
    for molecule, graph in zip(chosen, apart):
        np.testing.assert_array_equal(graph.nodes, molecule.atoms)
        np.testing.assert_array_equal(graph.senders, molecule.senders)
        np.testing.assert_array_equal(graph.receivers, molecule.receivers)
    # The ninth graph is padding: it has no labels, and its edges no real atom.
    real = sum(len(m.atoms) for m in chosen)
    padding = slice(sum(len(m.bonds) for m in chosen), None)
    assert (graphs.senders[padding] >= real).all()
    assert (graphs.globals["measured"][8] == 0).all()
    missing = np.isnan([m.labels for m in chosen])
    np.testing.assert_array_equal(graphs.globals["measured"][:8], ~missing)
    assert missing.any()
    assert np.isfinite(graphs.globals["labels"]).all()


def test_many_edges_take_a_larger_bucket(make):
    molecule = make(np.random.default_rng(0), 20)
    many = molecule._replace(
        bonds=np.zeros((400, 3), np.int32),
        senders=np.zeros(400, np.int32),
        receivers=np.zeros(400, np.int32),
    )
    graphs = pad([many], 8, config_of())
    assert len(graphs.edges) >= 400
    assert len(graphs.n_node) == 9


def test_a_step_decides_its_batch(rings):
    config = config_of()
    one, two = (training_batch(rings, config, 17) for _ in range(2))
    np.testing.assert_array_equal(one.nodes, two.nodes)
    config.seed = 1
    other = training_batch(rings, config, 17)
    assert one.n_node.tolist() != other.n_node.tolist()


def test_an_epoch_takes_each_molecule_once(make):
    rng = np.random.default_rng(0)
    all_sizes = list(range(3, 19))
    found = [make(rng, size) for size in all_sizes]
    config = config_of()
    parts = [training_batch(found, config, step).n_node[:8] for step in range(4)]
    real = [[*parts[0], *parts[1]], [*parts[2], *parts[3]]]
    assert sorted(real[0]) == sorted(real[1]) == all_sizes
    assert real[0] != real[1]


def test_evaluation_takes_all_in_order(rings):
    batches = list(in_order(rings[:19], config_of()))
    masks = [np.asarray(jraph.get_graph_padding_mask(b)).sum() for b in batches]
    assert masks == [8, 8, 3]
    assert {len(b.n_node) for b in batches} == {9}
    sizes = [n for b, k in zip(batches, masks) for n in b.n_node[:k]]
    assert sizes == [len(m.atoms) for m in rings[:19]]


@pytest.mark.parametrize("loader", ["numpy", "grain"])
def test_prefetch_keeps_the_order_and_raises(loader):
    found = prefetch(lambda step: 10 * step, range(3, 8), loader)
    assert list(found) == [30, 40, 50, 60, 70]

    def broken(step):
        raise OSError(f"step {step}")

    with pytest.raises(OSError, match="step 4"):
        list(prefetch(broken, range(4, 6), loader))


def test_a_loader_that_is_unknown_or_not_installed_is_named(monkeypatch):
    with pytest.raises(ValueError, match="'torch'; it must be 'numpy' or 'grain'"):
        next(prefetch(str, range(1), "torch"))
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError, match="pip install grain"):
        next(prefetch(str, range(1), "grain"))
