"""Settings of the whole suite."""

import os
import tempfile

# Before torch is imported anywhere: two test processes with a pool of threads each would fight for the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests read no activations of the person who runs them.
os.environ["XDG_CONFIG_HOME"] = os.path.join(tempfile.gettempdir(), "nonlin-tests-no-settings")

from hypothesis import settings

settings.register_profile("suite", deadline=None, max_examples=100, derandomize=True)
settings.load_profile("suite")
