"""The card: what it reads from probes, and what it hands out."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

import pfopt
from pfopt import Card, GroupCard, ProbeRecord, card

ADAMW = GroupCard("AdamW", {"weight_decay": 0.1}, 0.01, 0.02, 3.0)


def probe(step_size: float, accepted: bool, **others: Any) -> ProbeRecord:
    known = ProbeRecord(2, 0, step_size, 16, 1.0, 1.0, accepted, None)
    return known._replace(**others)


@pytest.mark.parametrize(
    ("probes", "certified", "rejected"),
    [
        ([], None, None),
        ([(1, True)], 1, None),
        ([(1, True), (16, False), (4, True), (8, False)], 4, 8),
        ([(1, False), (1 / 16, False), (1 / 4, True), (1 / 2, True)], 1 / 2, 1),
        ([(1, False), (1 / 16, False)], None, 1 / 16),
        ([(4, True), (8, False), (2, False), (1, True)], 1, 2),  # a second search, from another point
        ([(1, False), (1 / 16, False), (1, True), (16, True)], 16, None),  # longer probes, after noise
    ],
)
def test_limits_are_those_of_the_latest_search(probes: Any, certified: Any, rejected: Any) -> None:
    records = [probe(*each) for each in probes]
    assert (card.certified(records), card.rejected(records)) == (certified, rejected)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_noise_is_what_the_straightest_probe_shows(share: float) -> None:
    steps, mean_sq, step_size = 20, 9.0, 0.5
    path_sq = steps**2 * mean_sq * (1 - share) + steps * mean_sq * share
    straight = probe(
        step_size,
        share < 1,
        steps=steps,
        lipschitz=np.sqrt(mean_sq),
        distance=step_size * np.sqrt(path_sq),
    )
    assert card.noise([straight, probe(8.0, True)]) == pytest.approx(share, abs=1e-12)
    assert card.noise([straight._replace(lipschitz=0.0), probe(8.0, True)]) is None
    assert card.noise([straight, probe(1.0, True)]) is None  # its path may bend


def test_the_card_of_numpy_s_probes() -> None:
    scales = np.array([1.0, 10.0])
    result = pfopt.minimize(lambda x: scales * (x - 1), np.zeros(2), 1000)
    found, least = card.certified(result.probes), card.rejected(result.probes)
    assert found is not None
    assert least == 2 * found
    assert 0.02 < found < 0.2  # stable below 2/10
    assert card.noise(result.probes) == pytest.approx(0, abs=0.05)


def test_arguments_are_the_optimizer_s() -> None:
    assert ADAMW.arguments() == {"lr": card.PEAK * 0.01, "weight_decay": 0.1}
    slow = dataclasses.replace(ADAMW, certified=0.005)
    muon = dataclasses.replace(ADAMW, optimizer="Muon")
    assert Card((ADAMW, ADAMW), 0.1, 5, 80).arguments() == ADAMW.arguments()
    for other in (slow, muon):
        with pytest.raises(ValueError, match=r"card\.groups\[i\]\.arguments\(\) of each of the 2"):
            Card((ADAMW, other), 0.1, 5, 80).arguments()
    with pytest.raises(ValueError, match="no probe certified one"):
        Card((dataclasses.replace(ADAMW, certified=None),), None, 1, 16).arguments()


def test_a_card_is_shown_as_a_table_and_can_be_written() -> None:
    found = Card((ADAMW, dataclasses.replace(ADAMW, certified=None, distance=None)), 0.123, 5, 80)
    head, title, first, second = str(found).splitlines()
    assert "5 probes, 80 gradients" in head
    assert "12%" in head
    assert title.split() == ["group", "optimizer", "certified", "rejected", "distance", "arguments"]
    assert first.split() == [
        "0",
        "AdamW",
        "0.01",
        "0.02",
        "3",
        f"lr={card.PEAK * 0.01:g},",
        "weight_decay=0.1",
    ]
    assert second.split() == ["1", "AdamW", "-", "0.02", "-", "weight_decay=0.1"]
    assert json.loads(json.dumps(dataclasses.asdict(found)))["groups"][0]["certified"] == 0.01
    assert "unknown" in str(dataclasses.replace(found, noise=None))
