"""Vectors for words, from how often they are near each other in texts without labels.

Levy and Goldberg, "Neural Word Embedding as Implicit Matrix Factorization" (2014): the
positive pointwise mutual information of words and their neighbours, and the singular
value decomposition of that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.decomposition import TruncatedSVD

__all__ = ["word_vectors"]


def word_vectors(
    texts: Sequence[np.ndarray],
    vocab_size: int,
    features: int,
    *,
    window: int,
    seed: int,
) -> np.ndarray:
    """Makes vectors (vocab_size, features), of length 1 or, for rare words, 0.

    Args:
      texts: the word numbers of each text.
      vocab_size: how many numbers there are.
      features: the size of a vector.
      window: how far away a word still is a neighbour; a nearer one counts more.
      seed: of the approximate decomposition.
    """
    # One long row; between two texts are -1, over which no pair is made.
    gap = np.full(window, -1, np.int32)
    row = np.concatenate([part for text in texts for part in (text, gap)])
    near = sparse.csr_matrix((vocab_size, vocab_size), dtype=np.float32)
    for distance in range(1, window + 1):
        left, right = row[:-distance], row[distance:]
        kept = (left >= 0) & (right >= 0)
        weight = np.full(kept.sum(), 1 / distance, np.float32)
        shape = (vocab_size, vocab_size)
        near += sparse.coo_matrix((weight, (left[kept], right[kept])), shape).tocsr()
    near = (near + near.T).tocoo()
    total = np.asarray(near.sum(1)).ravel()
    # The power makes rare neighbours a little more common, and so less informative.
    smooth = total**0.75
    smooth /= smooth.sum()
    information = np.log(near.data / (total[near.row] * smooth[near.col]))
    kept = information > 0
    positive = sparse.csr_matrix(
        (information[kept], (near.row[kept], near.col[kept])), near.shape
    )
    svd = TruncatedSVD(features, n_iter=4, random_state=seed)
    found = svd.fit_transform(positive) / np.sqrt(svd.singular_values_)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    return np.divide(found, norms, np.zeros_like(found), where=norms > 0).astype("f4")
