"""Settings for the tests with other libraries, before any of them is imported."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
