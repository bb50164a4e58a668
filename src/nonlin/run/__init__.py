"""Running: the store, local workers, and the study that joins strategy, training and store."""

from nonlin.run.store import Store, Trial
from nonlin.run.study import Study, search

__all__ = ["Store", "Study", "Trial", "search"]
