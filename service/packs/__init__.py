"""Evidence packs: records, log entries and proofs about a permit, a transfer, a dataset or a handler, in one verifiable ZIP file."""
