"""A wrapper of a transform with the type variables of the release's own."""


def test_annotations_of_a_wrapper(flax):
    from flax.linen.transforms import C, Target, TransformTarget

    def remat_wrapper(target: Target, policy: C = None) -> Target:
        return flax.linen.remat(target, policy=policy)

    assert issubclass(remat_wrapper(flax.linen.Dense), flax.linen.Module)
    assert Target.__bound__ == TransformTarget
    assert (Target.__name__, C.__name__) == ("Target", "C")
