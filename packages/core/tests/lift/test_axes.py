"""Tests of batiste.core.lift.axes: what boxes are told, and where they complain."""

import jax
import jax.numpy as jnp
import pytest

from batiste.core import apply, errors, init, lift, meta, struct
from batiste.core.lift.axes import split_keys
from batiste.core.scope import LazyRng

KEY = jax.random.key(0)


class Strict(struct.PyTreeNode, meta.AxisMetadata):
    """A box that complains when it is told what it does not want to hear."""

    value: jax.Array
    says: str = struct.field(pytree_node=False)

    def unbox(self):
        if self.says == "no unboxing":
            raise errors.AxisMetadataError("no unboxing.")
        return self.value

    def replace_boxed(self, val):
        return self.replace(value=val)

    def add_axis(self, index, params):
        if self.says == "no axis":
            raise errors.PartitioningUnspecifiedError(self.says)
        return self

    remove_axis = add_axis


def model(scope, x, says="no axis"):
    child = scope.push("outer").push("inner")
    child.param("fine", lambda key: Strict(jnp.ones(2), ""))
    child.param("w", lambda key: Strict(jnp.ones(2), says))
    return x


AXES = {"params": 0}, {"params": True}
TRANSFORMS = {
    "vmap": lift.vmap(model, *AXES),
    "pmap": lift.pmap(model, *AXES),
    "scan": lift.scan(
        lambda scope, c, x: (c, model(scope, x)), AXES[0], split_rngs=AXES[1]
    ),
    "remat_scan": lift.remat_scan(model, (2, 2)),
    "add_metadata_axis": lift.add_metadata_axis(model, AXES[0]),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_an_error_of_a_box_has_the_path_of_its_variable(name):
    args = (0, jnp.ones((1, 2)))[-(2 if name == "scan" else 1) :]

    def within(scope, *args):
        return TRANSFORMS[name](scope.push("lifted"), *args)

    with pytest.raises(errors.PartitioningUnspecifiedError) as info:
        init(within)(KEY, *args)
    assert info.value.path == "params/lifted/outer/inner/w"
    assert str(info.value).startswith('In "params/lifted/outer/inner/w": A transform')
    w = Strict(jnp.ones((2, 2, 2) if name == "remat_scan" else (1, 2)), "no axis")
    variables = {"params": {"lifted": {"outer": {"inner": {"w": w}}}}}
    with pytest.raises(errors.PartitioningUnspecifiedError) as info:
        apply(within)(variables, *args)
    assert info.value.path == "params/lifted/outer/inner/w"


def test_of_several_scopes_the_right_one_is_named():
    def two(scope):
        def inner(scopes):
            for each in scopes:
                each.param("w", lambda key, says: Strict(jnp.ones(2), says), each.name)

        lift.vmap(inner, *AXES, axis_size=2)(
            (scope.push("first"), scope.push("no axis"))
        )

    with pytest.raises(errors.AxisMetadataError) as info:
        init(two)(KEY)
    assert info.value.path == "params/no axis/w"


def test_an_error_of_unboxing_has_the_path_of_the_variable():
    with pytest.raises(errors.AxisMetadataError) as info:
        init(model)(KEY, 1, "no unboxing")
    assert str(info.value) == 'In "params/outer/inner/w": no unboxing.'

    def with_variable(scope):
        box = Strict(jnp.ones(2), "no unboxing")
        variable = scope.push("child").variable("stats", "mean", lambda: box)
        return variable.value

    with pytest.raises(errors.AxisMetadataError) as info:
        apply(with_variable, mutable=True)({})
    assert info.value.path == "stats/child/mean"
    assert str(info.value) == 'In "stats/child/mean": no unboxing.'


def test_the_inner_path_is_kept():
    error = errors.AxisMetadataError("Bad.").at("params/a").at("params/b")
    assert error.path == "params/a"
    assert str(error) == 'In "params/a": Bad.'


def test_keys_are_split_for_some_groups_only():
    groups = (
        ({"a": LazyRng(jax.random.key(0))}, {}),
        ({"b": LazyRng(jax.random.key(0), ("x",))}, {}),
    )
    split, kept = split_keys(groups, [True, False], 3)
    assert split[0]["a"].rng.shape == (3,)
    assert split[1] == {}
    assert kept is groups[1]
