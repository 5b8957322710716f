"""A graph network (https://arxiv.org/abs/1806.01261) that classifies molecules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jraph
from jax import numpy as jnp
from molecules import ATOM_SIZES, BOND_SIZES

import batiste.linen as nn

__all__ = ["MLP", "GraphNetwork", "create_model"]

# Its own types are narrower than what it takes.
_GRAPH_NETWORK: Any = jraph.GraphNetwork


class Features(nn.Module):
    """The sum of an embedding of each of several whole numbers."""

    sizes: Sequence[int]
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (number, len(sizes)) to (number, features)."""
        total = jnp.zeros((x.shape[0], self.features))
        for column, size in enumerate(self.sizes):
            place = jnp.clip(x[:, column], 0, size - 1)
            total += nn.Embed(size, self.features)(place)
        return total


class MLP(nn.Module):
    """Two dense layers, each with normalization, ReLU and dropout."""

    features: int
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps (number, anything) to (number, features)."""
        for _ in range(2):
            x = nn.relu(nn.LayerNorm()(nn.Dense(self.features)(x)))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return x


class GraphNetwork(nn.Module):
    """Sends messages along the bonds, and reads the graphs out.

    In each of its layers, an edge is computed from itself, its two atoms and its
    molecule; an atom from itself, the edges that come in and go out, and its molecule;
    a molecule from itself, its atoms and its edges. Each is added to what was there.

    Attributes:
      num_tasks: how many logits each molecule gets.
      features: of the embeddings, and of all that follows.
      layers: how far messages get.
      dropout: its rate, in training.
    """

    num_tasks: int
    features: int
    layers: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, graphs: Any, train: bool = False) -> jax.Array:
        """Returns the logits (graphs, tasks) of a `jraph.GraphsTuple`.

        Those of padding mean nothing.
        """
        graphs = graphs._replace(
            nodes=Features(ATOM_SIZES, self.features, name="atoms")(graphs.nodes),
            edges=Features(BOND_SIZES, self.features, name="bonds")(graphs.edges),
            globals=jnp.zeros((graphs.n_node.shape[0], self.features)),
        )
        for layer in range(self.layers):
            edge, node, whole = (
                _joined(MLP(self.features, self.dropout, name=f"{kind}_{layer}"), train)
                for kind in ("edge", "node", "whole")
            )
            network = _GRAPH_NETWORK(
                update_edge_fn=edge,
                update_node_fn=node,
                update_global_fn=whole,
                aggregate_edges_for_globals_fn=jraph.segment_mean,
                aggregate_nodes_for_globals_fn=_scaled_sum,
            )
            sent = network(graphs)
            graphs = sent._replace(
                nodes=graphs.nodes + sent.nodes,
                edges=graphs.edges + sent.edges,
                globals=graphs.globals + sent.globals,
            )
        return nn.Dense(self.num_tasks, name="head")(graphs.globals)


def _joined(mlp: MLP, train: bool) -> Any:
    """A function of several arrays, which it joins."""
    return jraph.concatenated_args(lambda x: mlp(x, train))  # pyright: ignore


def _scaled_sum(nodes: jax.Array, segments: Any, number: int) -> jax.Array:
    # A sum knows how large a molecule is, which a mean does not.
    return jraph.segment_sum(nodes, segments, number) / 16.0


def create_model(config: Any) -> GraphNetwork:
    """The network of a config: `num_tasks`, `features`, `layers` and `dropout`."""
    return GraphNetwork(
        num_tasks=config.num_tasks,
        features=config.features,
        layers=config.layers,
        dropout=config.dropout,
    )
