"""Tells who is calling and what they may do: callers, roles, grants. Below `http`, which every route is built on."""
