"""Numbers of the head-end for Prometheus: telegrams by source and result, delays, queues, alarms, jobs. Extra ``headend``."""

from openmetering.interfaces.metrics.counts import COUNTED
from openmetering.interfaces.metrics.metrics import Metrics

__all__ = ["COUNTED", "Metrics"]
