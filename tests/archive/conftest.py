from __future__ import annotations

from hypothesis import settings

# The same examples at every run, and no deadline: a shared machine is sometimes slow, and no test may be flaky.
settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.load_profile("steady")
