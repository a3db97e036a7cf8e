from slipway.backends.function.messages import BatchContext as BatchContext
from slipway.backends.function.messages import BoundRequest as BoundRequest
from slipway.backends.function.messages import ModelInstance as ModelInstance
from slipway.backends.function.messages import Reply as Reply
from slipway.backends.function.tensor_type import TensorType as TensorType
from slipway.errors import Code as Code
from slipway.errors import SlipwayError as SlipwayError
from slipway.program.server import Server as Server

__version__: str
