"""The flags that only this package reads.

They are defined when this module is imported, which each module that reads them does.
`batiste.core.config` imports it, too, when it is asked for a flag that it has not.

>>> config.profile, config.preserve_adopted_names
(True, False)
"""

from batiste.core.config import bool_flag, config

__all__ = ["config"]

bool_flag(
    "profile",
    default=True,
    help="A method call that JAX traces is a `jax.named_scope` of the module's name.",
)
bool_flag(
    "preserve_adopted_names",
    default=False,
    help="A submodule that is passed as a field keeps the name that it had. Where "
    "a class has an attribute `preserve_adopted_names`, that decides for its fields.",
)
bool_flag(
    "share_scope_keeps_paths",
    default=False,
    help="Submodules that a module had before `share_scope` moved it have the keys and "
    "the path of where they were, as in later versions of flax, not those of where "
    "their variables are. Within a lifted function of a module around, a module that "
    "shares its scope with one in a field moves to the place of that one.",
)
bool_flag(
    "name_scopes_in_caller",
    default=False,
    help="What a `compact_name_scope` method makes is below the module that was the "
    "first to call its module, as in later versions of flax, not below its module.",
)
bool_flag(
    "empty_sequences_keep_carry",
    default=True,
    help="A sequence of length 0 ends with its first carry, not with that of padding.",
)
bool_flag(
    "documented_functions",
    default=True,
    help="Fields for a function in place of one of JAX have that one for default, as "
    "documented, and not None, as in later versions of flax.",
)
bool_flag(
    "documented_orders",
    default=False,
    help="Positional arguments that could be meant in the order of the documentation "
    "or in that of later versions of flax are meant in that of the documentation.",
)
bool_flag(
    "unbound_submodules",
    default=True,
    help="What `setup` declares can be read of a module that is not bound: submodules "
    "as unbound modules. In flax this raises an AttributeError.",
)
