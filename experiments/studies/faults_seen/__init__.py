"""Study ``faults_seen``: each kind of fault that was seen in use, by the smallest input that showed it."""

from experiments.studies.faults_seen.study import STUDY as STUDY
