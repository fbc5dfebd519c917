"""What the tests share: Hypothesis draws the same examples everywhere, at whatever speed."""

import hypothesis

SLOW = [hypothesis.HealthCheck.too_slow]  # on a busy machine
hypothesis.settings.register_profile("privbench", deadline=None, derandomize=True, suppress_health_check=SLOW)
hypothesis.settings.load_profile("privbench")
