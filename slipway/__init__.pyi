from slipway.backends.function.messages import BatchContext as BatchContext
from slipway.backends.function.messages import BoundRequest as BoundRequest
from slipway.backends.function.messages import ModelInstance as ModelInstance
from slipway.backends.function.messages import Reply as Reply
from slipway.backends.function.tensor_type import TensorType as TensorType
from slipway.client.async_client import AsyncClient as AsyncClient
from slipway.client.client import Client as Client
from slipway.client.messages import IndexRow as IndexRow
from slipway.client.messages import ModelInfo as ModelInfo
from slipway.client.messages import ServerInfo as ServerInfo
from slipway.client.messages import TensorInfo as TensorInfo
from slipway.client.result import InferResult as InferResult
from slipway.errors import Code as Code
from slipway.errors import SlipwayError as SlipwayError
from slipway.program.server import Server as Server

__version__: str
