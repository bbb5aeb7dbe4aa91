"""Parameter-free optimizers for torch."""

from pfopt.status import ProbeRecord as ProbeRecord
from pfopt.status import Status as Status
from pfopt.torch.adamw import ParameterFreeAdamW as ParameterFreeAdamW
from pfopt.torch.finder import find_lr as find_lr
from pfopt.torch.sgd import ParameterFreeSGD as ParameterFreeSGD
from pfopt.torch.wrapper import ParameterFree as ParameterFree
