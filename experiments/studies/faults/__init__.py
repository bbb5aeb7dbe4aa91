"""Study ``faults``: what goes wrong in training is made to go wrong, thousands of times; what is lost is counted."""

from experiments.studies.faults.study import STUDY as STUDY
