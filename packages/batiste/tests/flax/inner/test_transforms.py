"""A wrapper of a transform with the type variables of the release's own."""

import jax
import jax.numpy as jnp


def test_annotations_of_a_wrapper(flax):
    from flax.linen.transforms import C, Target, TransformTarget

    def remat_wrapper(target: Target, policy: C = None) -> Target:
        return flax.linen.remat(target, policy=policy)

    assert issubclass(remat_wrapper(flax.linen.Dense), flax.linen.Module)
    assert Target.__bound__ == TransformTarget
    assert (Target.__name__, C.__name__) == ("Target", "C")


def test_cached_transforms(flax):
    from flax.core import lift
    from flax.linen import transforms

    nn = flax.linen
    cls = transforms.module_class_lift_transform_cached(
        lift.checkpoint, nn.Dense, ["__call__"], prevent_cse=False
    )
    assert issubclass(cls, nn.Dense)
    both = transforms.lift_transform_cached(lift.checkpoint, nn.Dense)
    assert both.__name__ == cls.__name__ == "CheckpointDense"

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            run = transforms.decorator_lift_transform_cached(
                lift.jit, lambda mdl, x: mdl(x), static_argnums=()
            )
            other = transforms.decorator_lift_transform(
                lift.jit, lambda mdl, x: mdl(x), multi_scope=False
            )
            return other(nn.Dense(2), run(nn.Dense(2), x))

    params = Model().init(jax.random.key(0), jnp.ones((1, 2)))["params"]
    assert sorted(params) == ["Dense_0", "Dense_1"]
