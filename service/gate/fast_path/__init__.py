"""Answers common gate requests without ASGI. For speed alone: deleting this folder changes no answer."""
