"""The RPCs of the shared memory extensions, as rows for the table of RPCs: name -> message class and handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as pb

from slipway.regions.registry import Regions

Row = tuple[type[Message], Callable[[Any], Awaitable[Message]]]


def shared_memory_rows(regions: Regions) -> dict[str, Row]:
    """Return the rows that manage `regions`."""
    rpcs = SharedMemoryRpcs(regions)
    return {
        "SystemSharedMemoryStatus": (pb.SystemSharedMemoryStatusRequest, rpcs.status),
        "SystemSharedMemoryRegister": (pb.SystemSharedMemoryRegisterRequest, rpcs.register),
        "SystemSharedMemoryUnregister": (pb.SystemSharedMemoryUnregisterRequest, rpcs.unregister),
        "CudaSharedMemoryStatus": (pb.CudaSharedMemoryStatusRequest, rpcs.cuda_status),
        "CudaSharedMemoryRegister": (pb.CudaSharedMemoryRegisterRequest, rpcs.register_cuda),
        "CudaSharedMemoryUnregister": (pb.CudaSharedMemoryUnregisterRequest, rpcs.unregister_cuda),
    }


class SharedMemoryRpcs:
    """The handlers. The name "" stands for all regions."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions

    async def status(self, message: pb.SystemSharedMemoryStatusRequest) -> pb.SystemSharedMemoryStatusResponse:
        """Return the registered regions by name."""
        response = pb.SystemSharedMemoryStatusResponse()
        for region in self._regions.status(message.name):
            row = response.regions[region.name]
            row.name, row.key = region.name, region.key
            row.offset, row.byte_size = region.offset, region.byte_size
        return response

    async def register(self, message: pb.SystemSharedMemoryRegisterRequest) -> pb.SystemSharedMemoryRegisterResponse:
        """Register a region."""
        self._regions.register(message.name, message.key, message.offset, message.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    async def unregister(
        self, message: pb.SystemSharedMemoryUnregisterRequest
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """Unregister a region, or all of them."""
        self._regions.unregister(message.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    async def cuda_status(self, message: pb.CudaSharedMemoryStatusRequest) -> pb.CudaSharedMemoryStatusResponse:
        """Return no regions: none is in the memory of a GPU."""
        self._regions.check_cuda_status(message.name)
        return pb.CudaSharedMemoryStatusResponse()

    async def register_cuda(self, message: pb.CudaSharedMemoryRegisterRequest) -> pb.CudaSharedMemoryRegisterResponse:
        """Refuse a region in the memory of a GPU."""
        self._regions.register_cuda(message.name)
        return pb.CudaSharedMemoryRegisterResponse()

    async def unregister_cuda(self, _: pb.CudaSharedMemoryUnregisterRequest) -> pb.CudaSharedMemoryUnregisterResponse:
        """Unregister nothing."""
        self._regions.unregister_cuda()
        return pb.CudaSharedMemoryUnregisterResponse()
