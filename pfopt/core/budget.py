"""How many gradients a probe, the search and a stage may take.

The certified plan gives every probe ⌊B/2k⌋ gradients (Algorithm 1). The practical plan has short probes and leaves
the rest to the main run.
"""

from pfopt.core.arrays import Count, Flag, Real, namespace, where
from pfopt.core.config import Config
from pfopt.core.records import State

LEAST_STEPS = {
    True: 8,
    False: 16,
}  # total_steps by Config.certified; below, no probe is longer than one gradient
FIRST_STAGE = 1024  # gradients that the search is planned for where the horizon is unknown
ENDLESS = 2**30  # gradients of a main run without an end
LENGTHENING = 4  # probes without signal grow by this factor
SEARCH_SHARE = 0.25  # of the budget, at most; a search with signal ends far below it
LENGTHENED_SHARE = 0.125  # the same once probes are longer: the main run's certificate mends a low step size


def certified_probe_length(total_steps: Count, k: Count) -> Count:
    """⌊B/2k⌋ gradients (Algorithm 1)."""
    return total_steps // (2 * k)


def probe_length(total_steps: Count) -> Count:
    """Gradients of a first probe of the practical plan: B/200, at most 64, at least 16 where that is at most B/16."""
    clip = namespace(total_steps).clip
    return clip(total_steps // 200, clip(total_steps // 16, 4, 16), 64)


def stage_steps(config: Config, state: State) -> Count:
    """Gradients of the current stage; of the whole run where the horizon is known."""
    return config.total_steps * namespace(state.budget_doublings).left_shift(1, state.budget_doublings)


def search_is_over(config: Config, state: State) -> Flag:
    """Whether the next probe of the practical plan would take the search beyond its share."""
    total = stage_steps(config, state)
    lengthened = state.probe_length > probe_length(total)
    share: Real = where(lengthened, LENGTHENED_SHARE, SEARCH_SHARE)
    return state.spent + state.run_length > share * total
