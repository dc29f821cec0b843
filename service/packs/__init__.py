"""Evidence packs: records, log entries and proofs about a permit, a transfer, a dataset or a handler, in one ZIP file that is verified offline."""
