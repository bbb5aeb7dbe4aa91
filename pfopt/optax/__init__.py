"""Parameter-free gradient transformations for optax."""

from pfopt.optax.memory import ParameterFreeState as ParameterFreeState
from pfopt.optax.reading import eval_params as eval_params
from pfopt.optax.reading import status as status
from pfopt.optax.transform import parameter_free as parameter_free
from pfopt.optax.transform import parameter_free_sgd as parameter_free_sgd
from pfopt.optax.transform import scale_by_parameter_free as scale_by_parameter_free
from pfopt.optax.transform import scale_by_parameter_free_sgd as scale_by_parameter_free_sgd
from pfopt.search.state import Status as Status
