"""Runs the log: leader election, sequencing, checkpoints, witnesses, proofs, retention and the check of all of it (fsck)."""
