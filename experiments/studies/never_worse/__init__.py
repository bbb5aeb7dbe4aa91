"""Study ``never_worse``: generated problems, and whether a run ends worse than it began."""

from experiments.studies.never_worse.study import STUDY as STUDY
