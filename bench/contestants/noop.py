"""A framework without work: FastAPI that validates the question with pydantic and gives a constant answer."""

import json
import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from bench.contestants import bare
from bench.servers import Server


class Thing(BaseModel):
    """A subject or a resource."""

    type: str
    id: str


class Action(BaseModel):
    """What is to be done."""

    name: str


class Context(BaseModel):
    """What the question is about."""

    recipient: str | None = None
    purpose: str | None = None
    persons: int | None = None
    sensitive_persons: int | None = None
    fields: list[str] | None = None


class Question(BaseModel):
    """An evaluation request."""

    subject: Thing
    action: Action
    resource: Thing
    context: Context = Context()


app = FastAPI()
_ANSWER: dict[str, Any] = json.loads(os.environ.get(bare.ANSWER, "{}"))


@app.post("/access/v1/evaluation")
async def evaluation(question: Question) -> dict[str, Any]:
    """Answer, whatever is asked."""
    del question
    return _ANSWER


def serve(answer: str, folder: Path) -> Server:
    """Return a server of it."""
    return bare.uvicorn("bench.contestants.noop:app", folder, {bare.ANSWER: answer})
