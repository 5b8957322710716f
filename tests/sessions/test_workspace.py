"""What packages need of each other."""

from workspace import closure


def test_what_only_an_extra_needs_is_put_in_for_the_tests():
    alone = ["traverse", "serialization", "core", "training"]
    assert closure("training") == alone
    with_extras = closure("training", extras=True)
    assert with_extras == [*alone[:3], "spmd", "linen", "training"]
    assert closure("linen", extras=True) == closure("linen")
