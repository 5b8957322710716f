"""What the tests of the documented programs share: the keys' settings, printed text.

Eight CPU devices are asked for before JAX starts, as the documentation's guides on
several devices do.
"""

import os
import re

import jax
import numpy as np
import pytest

_COUNT = "--xla_force_host_platform_device_count"
if _COUNT not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_COUNT}=8".strip()

_NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:e[+-]?\d+)?")


@pytest.fixture(autouse=True)
def documented_keys():
    """The documentation's numbers were drawn before threefry became partitionable."""
    before = jax.config.jax_threefry_partitionable
    jax.config.update("jax_threefry_partitionable", False)
    yield
    jax.config.update("jax_threefry_partitionable", before)


def _last_digit(number: str) -> float:
    """What one unit of a printed number's last digit is worth."""
    mantissa, _, exponent = number.partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals)


def _check_printed(value, text: str, roundings: int = 0, relative: float = 0.0):
    """Asserts that an array's numbers, in order, are those that a text shows.

    A number agrees if it is at most half a unit of the last printed digit away. What a
    program adds up in float32 depends in its last bit on the order of the additions,
    which is another in each release of XLA: `roundings` allows that many errors of the
    largest number's last bit, and `relative` an error that a long training built up.
    """
    numbers = _NUMBER.findall(text)
    values = np.asarray(value).ravel().tolist()
    assert len(values) == len(numbers), (values, numbers)
    largest = max(abs(float(number)) for number in numbers)
    for got, number in zip(values, numbers):
        # A float32 is printed with the fewest digits that tell it from its neighbours.
        slack = 2.0**-24 * abs(float(number)) + 2.0**-23 * roundings * largest
        slack += relative * abs(float(number))
        assert abs(got - float(number)) <= 0.5 * _last_digit(number) + slack, (
            f"{got!r} where {number} is printed"
        )


@pytest.fixture
def check_printed():
    """The check that an array's numbers are those of a printed text."""
    return _check_printed


@pytest.fixture
def eight_devices():
    """The devices of the guides on parallel training."""
    devices = jax.devices()
    assert len(devices) >= 8, "JAX started before XLA_FLAGS asked for eight devices"
    return devices[:8]
