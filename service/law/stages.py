"""Stages of approval, by their names."""

from enum import StrEnum


class Stage(StrEnum):
    """Stage of approval, in the order of approval; its name is the reviewer's role without the prefix."""

    DATA_OWNER = "data_owner"
    PRIVACY = "privacy"
    LEGAL = "legal"
    SECURITY = "security"
    EXECUTIVE = "executive"

    @property
    def role(self) -> str:
        """Role that reviews the stage."""
        return f"reviewer:{self.value}"
