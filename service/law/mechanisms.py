"""Mechanisms: the requirement that a determination names, from free to strict."""

from enum import StrEnum
from typing import Final


class Mechanism(StrEnum):
    """Requirement that an export must meet, from free to strict."""

    NOT_CROSS_BORDER = "not_cross_border"
    EXEMPT = "exempt"
    STANDARD_CONTRACT_OR_CERTIFICATION = "standard_contract_or_certification"
    SECURITY_ASSESSMENT = "security_assessment"
    AUTHORITY_APPROVAL = "authority_approval"
    STATE_APPROVAL = "state_approval"
    PROHIBITED = "prohibited"

    @property
    def strictness(self) -> int:
        """Rank from free (0) to strict."""
        return _STRICTNESS[self]


_STRICTNESS: Final = {mechanism: place for place, mechanism in enumerate(Mechanism)}
