"""Settings of all tests."""

from hypothesis import HealthCheck, settings

# How long an example takes depends on the machine's load, so it decides nothing.
settings.register_profile(
    "batiste", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("batiste")
