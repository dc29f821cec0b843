"""Completes the OpenAPI document: links between operations, headers of answers."""
