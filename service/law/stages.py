"""Stages of approval, by their names."""

from enum import StrEnum


class Stage(StrEnum):
    """Stage of approval, in the order in which stages are taken; its name is the reviewer's role without the prefix."""

    DATA_OWNER = "data_owner"
    PRIVACY = "privacy"
    LEGAL = "legal"
    SECURITY = "security"
    EXECUTIVE = "executive"

    @property
    def role(self) -> str:
        """The role that reviews it."""
        return f"reviewer:{self.value}"
