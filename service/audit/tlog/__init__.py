"""Formats of transparency logs as C2SP and RFC 9162 have them: Merkle tree, tiles, signed notes, witness protocol. Pure."""
