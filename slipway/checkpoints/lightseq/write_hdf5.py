"""Write a `.hdf5` file: flat float32 and uint8 datasets, texts as arrays of character codes. Needs h5py."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from slipway.checkpoints.lightseq.contents import Setting
from slipway.checkpoints.lightseq.hdf5 import load_h5py
from slipway.checkpoints.lightseq.output import OutputFile
from slipway.checkpoints.lightseq.schema import ARRAY_KINDS, FieldKind, MessageSchema, SchemaField


def write_hdf5(path: Path, schema: MessageSchema, output: OutputFile) -> None:
    """Write the datasets of `output` to `path`."""
    with load_h5py().File(path, "w") as file:
        for name, known in schema.leaves(output.layers):
            if name in output.late:
                file.create_dataset(name, data=np.float32(output.late[name]()))
            elif known.kind in ARRAY_KINDS:
                if name in output.arrays:
                    file.create_dataset(name, data=output.arrays[name].make())
            elif name in output.settings:
                file.create_dataset(name, data=_encoded(known, output.settings[name]))
        for stack, count in output.layers.items():
            file.create_dataset(f"model_conf/n_{stack}", data=np.int32(count))


def _encoded(known: SchemaField, value: Setting) -> np.ndarray | np.generic:
    if isinstance(value, str):
        return np.frombuffer(value.encode("ascii"), np.int8)
    kinds = {FieldKind.FLOAT: np.float32, FieldKind.BOOL: np.bool_}
    return np.asarray(value, kinds.get(known.kind, np.int32))
