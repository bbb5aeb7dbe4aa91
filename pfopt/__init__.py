"""Parameter-free SGD: one run, no learning rate (Carmon & Hinder, COLT 2022, and what grows from it)."""

from pfopt.minimize import Result as Result
from pfopt.minimize import minimize as minimize
from pfopt.search.state import Outcome as Outcome
from pfopt.search.state import ProbeRecord as ProbeRecord
from pfopt.search.state import Status as Status

__version__ = "0.1.0"
