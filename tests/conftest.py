"""For all tests: a property test is bounded by its examples, not by the speed of the machine."""

from hypothesis import HealthCheck, settings

settings.register_profile("lpmos", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lpmos")
