"""Parameter-free gradient transformations for optax."""

from pfopt.optax.inspect import eval_params as eval_params
from pfopt.optax.inspect import status as status
from pfopt.optax.state import ParameterFreeState as ParameterFreeState
from pfopt.optax.transform import parameter_free as parameter_free
from pfopt.optax.transform import parameter_free_sgd as parameter_free_sgd
from pfopt.status import Status as Status
