"""Shares what all routes need: the lifecycle of a request."""
