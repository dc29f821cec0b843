"""Evidence packs: all that stands behind a permit, a transfer, a dataset or a handler's year, in one file that proves itself."""
