"""Validation of requests: text types, confusables, strict JSON, and the problem documents of refusals and faults."""
