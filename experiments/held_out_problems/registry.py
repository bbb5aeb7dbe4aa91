"""Every problem by name, one row each: 54 in two parts, ten further ones, and the cases.

Of the first part, item 27 of experiments/NOTES.md has seen how it went.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from experiments.common.names import check_names
from experiments.held_out_problems import (
    adapted,
    cases,
    classifiers,
    columns,
    densities,
    functions,
    pictures,
    rankings,
    regressions,
    sequence_layers,
    sequences,
    signals,
    simulations,
    tabular,
    vision,
)
from experiments.held_out_problems.problem import Problem

Entry = tuple[int, Callable[[int], Problem]]  # steps of a run, and what makes it from a seed

FIRST: dict[str, Entry] = {
    "autoencoder": (1200, vision.autoencoder),
    "vae": (1200, vision.vae),
    "infonce": (1200, vision.infonce),
    "vit": (700, vision.vit),
    "deep_res_relu": (800, vision.deep_res_relu),
    "deep_res_tanh": (800, vision.deep_res_tanh),
    "deep_res_relu_he": (800, vision.deep_res_relu_he),
    "cnn_bn_noise": (700, vision.cnn_bn_noise),
    "lora": (1200, vision.lora),
    "finetune_b8": (1500, vision.finetune_b8),
    "lstm_adding": (1000, sequences.lstm_adding),
    "gru_char": (900, sequences.gru_char),
    "gpt_dropout": (800, sequences.gpt_dropout),
    "word2vec": (1500, sequences.word2vec),
    "matrix_fact": (1500, tabular.matrix_fact),
    "gcn": (800, tabular.gcn),
    "deepsets": (1200, tabular.deepsets),
    "fm_ctr": (1500, tabular.fm_ctr),
    "logistic_ctr": (1500, tabular.logistic_ctr),
    "quantile": (1200, tabular.quantile),
    "poisson": (1500, tabular.poisson),
    "poisson_mild": (1500, tabular.poisson_mild),
    "student_mse": (1200, tabular.student_mse),
    "wine_raw": (1200, tabular.wine_raw),
    "cancer_raw_mlp": (1200, tabular.cancer_raw_mlp),
    "fourier_mlp": (1200, functions.fourier_mlp),
    "pinn": (1000, functions.pinn),
    "ddpm": (1500, functions.ddpm),
    "mdn": (1200, functions.mdn),
    "rosenbrock": (2000, functions.rosenbrock),
    "reinforce": (1500, functions.reinforce),
}
SECOND: dict[str, Entry] = {  # written when every rule stood; none has changed since
    "mixer": (800, classifiers.mixer),
    "experts": (800, classifiers.experts),
    "separable_cnn": (500, classifiers.separable_cnn),
    "wild_weights": (1000, classifiers.wild_weights),
    "feature_hinge": (1200, classifiers.feature_hinge),
    "summed_loss": (1000, classifiers.summed_loss),
    "imbalanced": (1200, classifiers.imbalanced),
    "graph_attention": (800, classifiers.graph_attention),
    "preferences": (1500, rankings.preferences),
    "triplet": (800, rankings.triplet),
    "survival": (1000, rankings.survival),
    "raw_targets": (1500, regressions.raw_targets),
    "deep_linear": (1200, regressions.deep_linear),
    "huber": (1500, regressions.huber),
    "lasso": (1500, regressions.lasso),
    "flow": (1200, densities.flow),
    "posterior": (1500, densities.posterior),
    "gaussian_process": (600, densities.gaussian_process),
    "siren": (1000, signals.siren),
    "denoising": (500, signals.denoising),
    "pendulum": (500, signals.pendulum),
    "addition": (1200, sequences.addition),
    "copying": (1000, sequences.copying),
}
CASES: dict[str, Entry] = {  # runs that were lost before item 31
    "vit_small_weights": (1500, cases.vit_small_weights),
    "bert_scratch": (500, cases.bert_scratch),
    "bert_finetuned": (500, cases.bert_finetuned),
    "citations": (300, cases.citations),
    "rare_words": (1500, cases.rare_words),
    "rare_words_noise": (3000, cases.rare_words_noise),
    "clipped_decoder": (500, cases.clipped_decoder),
}
FURTHER: dict[
    str, Entry
] = {  # written when the rules of item 33 stood, and run for the first time as they are
    "finetuned_cnn": (600, adapted.finetuned_cnn),
    "lora_decoder": (500, adapted.lora_decoder),
    "distillation": (1500, adapted.distillation),
    "picture_diffusion": (600, pictures.picture_diffusion),
    "molecules": (800, simulations.molecules),
    "actor_critic": (600, simulations.actor_critic),
    "recommender": (1000, columns.recommender),
    "state_space": (600, sequence_layers.state_space),
    "switch_decoder": (600, sequence_layers.switch_decoder),
    "dilated": (600, sequence_layers.dilated),
}
SETS = {"problems": FIRST | SECOND, "further": FURTHER, "cases": CASES}  # of study ``unseen``
PROBLEMS = FIRST | SECOND | FURTHER | CASES


def make_problem(name: str, seed: int) -> Problem:
    """A problem at its initial weights, which depend on the seed only."""
    check_names([name], tuple(PROBLEMS), "problem")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PROBLEMS[name][1](seed)
