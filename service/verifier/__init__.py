"""Verifies an evidence pack offline: the pack, its replay, the law determined again."""
