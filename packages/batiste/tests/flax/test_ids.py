"""Numbers that tell objects apart."""

import copy
import threading

from hypothesis import given
from hypothesis import strategies as st

from batiste.flax.ids import FlaxId, UUIDManager, uuid


@given(st.integers(), st.integers())
def test_equality_is_that_of_the_numbers(a, b):
    assert (FlaxId(a) == FlaxId(b)) == (a == b)
    assert hash(FlaxId(a)) == hash(FlaxId(a))
    assert FlaxId(a) != a
    assert repr(FlaxId(a)) == f"FlaxId({a})"


def test_copies_are_others():
    one = uuid()
    assert len({one, copy.copy(one), copy.deepcopy(one), uuid()}) == 4
    assert len(set(copy.deepcopy([one, one]))) == 1


def test_threads_never_get_the_same():
    numbers, found = UUIDManager(), []

    def draw():
        found.extend([numbers() for _ in range(1000)])

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 4000
