"""Study ``card``: plain optimizers at the rates that a search hands out, and searches that start from a card."""

from experiments.studies.card.study import STUDY as STUDY
