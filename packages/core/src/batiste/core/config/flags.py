"""The flags that this package reads."""

from __future__ import annotations

from .definitions import bool_flag

__all__ = []

bool_flag(
    "return_frozendict",
    default=True,
    help="`init` and `apply` return variables as FrozenDict, not as plain dicts.",
)
bool_flag(
    "fix_rng_separator",
    default=False,
    help="A zero byte precedes each item that a key is derived from, so that "
    "('a', 'bc') and ('ab', 'c') give different keys. It changes all keys.",
)
bool_flag(
    "relaxed_naming",
    default=True,
    help="Variables of different collections in one place may have one name.",
)
bool_flag(
    "filter_frames",
    default=True,
    help="Tracebacks leave out the frames of this library.",
)
bool_flag(
    "tabulate_intermediates",
    default=False,
    help="`tabulate` shows the collection of intermediates, unless told otherwise.",
)
bool_flag(
    "documented_checks",
    default=True,
    help="Refuse what the documentation refuses and later versions of flax take: "
    "variables used inside a JAX transform that began outside of their module, several "
    "compact methods in a class, a field annotated `name`.",
)
bool_flag(
    "rng_fallback",
    default=True,
    help="A PRNG stream that was not given falls back to the stream `params`. It does "
    "not in the documentation's version of flax.",
)
bool_flag(
    "split_fallback",
    default=True,
    help="A lifted transform that is told to split a stream that was not given splits "
    "what it falls back to. Later versions of flax let it fall back to what `params` "
    "is inside.",
)
bool_flag(
    "jit_folds_rngs",
    default=False,
    help="Lifted `jit` and `fold_rngs` start all streams anew, as in later versions of "
    "flax: those of a module that is transformed from a key that is drawn in it, those "
    "of other scopes from the base keys. It changes the keys inside, and after.",
)
bool_flag(
    "branches_count_on",
    default=False,
    help="Each branch of `cond` and `switch` draws the keys that follow those of the "
    "branch before, as in later versions of flax, rather than those that it would draw "
    "alone.",
)
bool_flag(
    "custom_vjp_counts_on",
    default=False,
    help="The functions of `custom_vjp` draw the keys that follow when JAX calls them, "
    "as in later versions of flax, not those that the first of them would draw.",
)
