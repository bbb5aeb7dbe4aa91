"""Watches a training run by its losses: whether it improves, has reached a plateau, overfits, diverges, or is noise.

``Monitor`` needs numpy alone; ``pfopt.control.lightning`` and ``pfopt.control.hugging_face`` have callbacks around it.
"""

from pfopt.control.monitor import Monitor as Monitor
from pfopt.control.noise import noise_of_probes as noise_of_probes
from pfopt.control.trend import Interval as Interval
from pfopt.control.verdicts import Kind as Kind
from pfopt.control.verdicts import Verdict as Verdict
