"""The law as a company has it: the rules of a version, with its own on top."""

from pathlib import Path

from service.law import policy, rule_book
from service.law.rule_book import RuleBook


def book_of(policy_file: Path | None) -> RuleBook:
    """Return the law with the company's own rules on top.

    Args:
        policy_file: where its own rules are; None: it has none.

    Raises:
        RuleFileError, PolicyFileError: the files cannot be used; nothing starts with them.
    """
    return rule_book.load(policy=None if policy_file is None else policy.load(policy_file))
