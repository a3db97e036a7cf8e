"""The backend `lightseq`: LightSeq's exported models (.pb, .hdf5) and its Triton backend's interface."""
