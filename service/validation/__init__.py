"""Validates what callers send: text types, confusables, strict JSON, and the problems that tell of faults."""
