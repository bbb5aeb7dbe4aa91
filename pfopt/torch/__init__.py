"""Parameter-free optimizers for torch."""

from pfopt.search.state import ProbeRecord as ProbeRecord
from pfopt.search.state import Status as Status
from pfopt.torch.optimizer import ParameterFreeSGD as ParameterFreeSGD
from pfopt.torch.wrapper import ParameterFree as ParameterFree
