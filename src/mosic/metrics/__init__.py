"""The metrics for Prometheus: every collector is in here, and is used through here.

Base units (seconds, bytes) in the names; labels are route templates, methods, statuses and stable codes,
never a raw path. An id is a label only of the ten clips that are played most: the number of series stays
bounded.
"""

from __future__ import annotations

from mosic.metrics.catalogue import CatalogueFigures, TopClip, WorkFigures
from mosic.metrics.exposition import Metrics
from mosic.metrics.requests import UNMATCHED

__all__ = ["UNMATCHED", "CatalogueFigures", "Metrics", "TopClip", "WorkFigures"]
