"""Study ``control``: what the monitor says of simulated streams, recorded curves and new runs."""

from experiments.studies.control.study import STUDY as STUDY
