"""Molecules as graphs: atoms are nodes, and every bond is two edges.

The features are those of the Open Graph Benchmark (https://ogb.stanford.edu): nine
whole numbers of an atom and three of a bond, so that a model made for these molecules
also reads those of the benchmark.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "ATOM_SIZES",
    "BOND_SIZES",
    "PROPERTIES",
    "Molecule",
    "featurize",
    "nci_molecules",
    "properties",
]

# How many values each feature has. Larger numbers count as the last one.
ATOM_SIZES = (120, 6, 12, 12, 10, 6, 7, 2, 2)
BOND_SIZES = (6, 7, 2)

_HYBRIDIZATIONS = ("SP", "SP2", "SP3", "SP3D", "SP3D2")
_BOND_TYPES = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")
_STEREOS = ("STEREONONE", "STEREOZ", "STEREOE", "STEREOCIS", "STEREOTRANS")


class Molecule(NamedTuple):
    """A graph.

    Attributes:
      atoms: the features (number of atoms, 9) of int32.
      bonds: the features (number of edges, 3) of int32.
      senders, receivers: the atoms that an edge goes from and to.
      labels: (tasks,) of float32: 1, 0, or NaN where nobody has measured.
    """

    atoms: np.ndarray
    bonds: np.ndarray
    senders: np.ndarray
    receivers: np.ndarray
    labels: np.ndarray


def featurize(molecule: Any, labels: np.ndarray) -> Molecule:
    """The graph of a molecule of RDKit's."""

    def place(names: tuple[str, ...], value: Any) -> int:
        return names.index(str(value)) if str(value) in names else len(names)

    atoms = [
        (
            atom.GetAtomicNum() - 1,
            int(atom.GetChiralTag()),
            atom.GetTotalDegree(),
            atom.GetFormalCharge() + 5,
            atom.GetTotalNumHs(),
            atom.GetNumRadicalElectrons(),
            place(_HYBRIDIZATIONS, atom.GetHybridization()),
            int(atom.GetIsAromatic()),
            int(atom.IsInRing()),
        )
        for atom in molecule.GetAtoms()
    ]
    bonds, ends = [], []
    for bond in molecule.GetBonds():
        features = (
            place(_BOND_TYPES, bond.GetBondType()),
            place(_STEREOS, bond.GetStereo()),
            int(bond.GetIsConjugated()),
        )
        here, there = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        bonds += [features, features]
        ends += [(here, there), (there, here)]
    edges = np.array(ends, np.int32).reshape(-1, 2)
    return Molecule(
        atoms=np.array(atoms, np.int32).reshape(-1, len(ATOM_SIZES)),
        bonds=np.array(bonds, np.int32).reshape(-1, len(BOND_SIZES)),
        senders=edges[:, 0],
        receivers=edges[:, 1],
        labels=np.asarray(labels, np.float32),
    )


@functools.cache
def _properties() -> dict[str, Callable[[Any], bool]]:
    from rdkit import Chem
    from rdkit.Chem import rdMolDescriptors

    ester = Chem.MolFromSmarts("[CX3](=O)[OX2][#6]")
    find: Any = rdMolDescriptors
    return {
        "logP over 3": lambda m: find.CalcCrippenDescriptors(m)[0] > 3,
        "polar surface over 60": lambda m: find.CalcTPSA(m) > 60,
        "two aromatic rings": lambda m: find.CalcNumAromaticRings(m) >= 2,
        "six rotatable bonds": lambda m: find.CalcNumRotatableBonds(m) >= 6,
        "two hydrogen donors": lambda m: find.CalcNumHBD(m) >= 2,
        "five hydrogen acceptors": lambda m: find.CalcNumHBA(m) >= 5,
        "half of the carbon sp3": lambda m: find.CalcFractionCSP3(m) > 0.5,
        "heavier than 300": lambda m: find.CalcExactMolWt(m) > 300,
        "aromatic heterocycle": lambda m: find.CalcNumAromaticHeterocycles(m) > 0,
        "amide": lambda m: find.CalcNumAmideBonds(m) > 0,
        "ester": lambda m: m.HasSubstructMatch(ester),
        "bridged rings": lambda m: find.CalcNumBridgeheadAtoms(m) > 0,
    }


PROPERTIES = (
    "logP over 3",
    "polar surface over 60",
    "two aromatic rings",
    "six rotatable bonds",
    "two hydrogen donors",
    "five hydrogen acceptors",
    "half of the carbon sp3",
    "heavier than 300",
    "aromatic heterocycle",
    "amide",
    "ester",
    "bridged rings",
)


def properties(molecule: Any) -> np.ndarray:
    """The labels (12,) of a molecule of RDKit's, in the order of `PROPERTIES`."""
    computed = _properties()
    return np.array([computed[name](molecule) for name in PROPERTIES], np.float32)


def nci_molecules() -> list[Molecule]:
    """Some 5,000 molecules of the National Cancer Institute's, with their properties.

    Their structures come with RDKit. Those that it cannot read, that have no bond, or
    that are there twice, are left out.
    """
    from pathlib import Path

    from rdkit import Chem, RDConfig, rdBase

    path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
    found: dict[str, Molecule] = {}
    with rdBase.BlockLogs():  # It tells of those that it cannot read.
        for line in path.read_text("ascii").splitlines():
            molecule = Chem.MolFromSmiles(line.split()[0])
            if molecule is not None and molecule.GetNumBonds():
                name = Chem.MolToSmiles(molecule)
                if name not in found:
                    found[name] = featurize(molecule, properties(molecule))
    return list(found.values())
