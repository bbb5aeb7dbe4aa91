"""Study ``ablation``: mechanisms of the practical plan, switched off."""

from experiments.studies.ablation.study import STUDY as STUDY
