"""Parameter-free SGD: one run, no learning rate (Carmon & Hinder, COLT 2022, and what grows from it)."""

from pfopt.card import Card as Card
from pfopt.card import GroupCard as GroupCard
from pfopt.core.records import Outcome as Outcome
from pfopt.minimize import Result as Result
from pfopt.minimize import minimize as minimize
from pfopt.options import Certified as Certified
from pfopt.options import Practical as Practical
from pfopt.status import ProbeRecord as ProbeRecord
from pfopt.status import Status as Status

__version__ = "0.1.0"
