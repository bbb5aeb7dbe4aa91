"""The comparison at the size of a GPU, on the smallest of its networks."""

import pandas as pd

from experiments.studies.at_scale import Job, run


def test_learning_rates_are_used() -> None:
    table = pd.DataFrame([run(Job("digits-network", "sgd", rate, 0, 2)) for rate in (0.125, 0.25)])
    assert table.value.between(0, 10).all()
    assert table.value.nunique() == 2
    assert table.device.nunique() == 1
