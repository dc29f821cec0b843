"""A file of the law data that cannot be used stops the start, and says which file and which key."""

import shutil
from datetime import date
from pathlib import Path

import pytest

from service.law.facts import Count
from service.law.rules import DATA, FollowUp, RuleFileError, load
from tests.law.strategies import BOOK


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA, tmp_path / "data"))


SPOILS = [
    ("rules.toml", 'id = "important"\n', 'id = "important"\nweight = 3\n', ["important", "weight"]),
    (
        "rules.toml",
        "to = 2024-03-22\nmechanism",
        "to = 2025-03-22\nmechanism",
        ["volume-assessment-2022", "handled_persons"],
    ),
    (
        "thresholds.toml",
        "value = 100000\nfrom = 2022-09-01\nto = 2024-03-22",
        "value = 100000\nfrom = 2022-09-01\nto = 2024-03-23",
        ["assessment_persons", "overlaps"],
    ),
    ("rules.toml", 'citations = [{ instrument = "CBDF", article = "3" }]\n', "", ["general", "citations"]),
    ("rules.toml", 'instrument = "CBDF", article = "3"', 'instrument = "CBDX", article = "3"', ["general", "CBDX"]),
    ("rules.toml", 'uncited = "Before', 'citations = []\n# "', ["no-rule-yet"]),
    (
        "rules.toml",
        'uncited = "Before the Personal Information Protection Law no article asks for a mechanism."',
        'citations = [{ instrument = "NDSMR", article = "1" }]',
        ["no-rule-yet", "no day"],
    ),
    ("obligations.toml", 'zh = "取得个人对出境的单独同意。"', 'zh = ""', ["separate_consent", "zh"]),
    ("obligations.toml", ', zh = "取得个人对出境的单独同意。"', "", ["separate_consent", "zh"]),
    ("obligations.toml", "from = 2021-11-01", 'from = "2021-11-01"', ["notify_individuals", "from"]),
    ("rules.toml", "from = 2021-09-01\nto = 2021-11-01", "from = 2021-11-01\nto = 2021-11-01", ["no-rule-yet", "to"]),
    ("rules.toml", 'when = ["ciio"]', 'when = ["os.system"]', ["ciio", "vocabulary"]),
    ("rules.toml", 'when = ["ciio"]', 'when = ["not really so"]', ["ciio", "vocabulary"]),
    ("rules.toml", '"necessity:hr"', '"necessity:whim"', ["necessity-hr", "vocabulary"]),
    (
        "rules.toml",
        "persons >= contract_persons or",
        "people >= contract_persons or",
        ["volume-contract-2024", "people"],
    ),
    ("rules.toml", "persons >= contract_persons or", "persons >= nowhere or", ["volume-contract-2024", "nowhere"]),
    ("rules.toml", 'exemption = "hr"', 'exemption = "habit"', ["necessity-hr", "exemption"]),
    ("rules.toml", 'exemption = "hr"\n', "", ["necessity-hr", "exemption"]),
    ("rules.toml", 'mechanism = "state_approval"\nwhen', 'mechanism = "approval"\nwhen', ["core", "mechanism"]),
    ("rules.toml", "below {contract_persons},", "below {nobody_knows},", ["small-volume.text.en", "nobody_knows"]),
    ("instruments.toml", 'code = "DSL"', 'code = "CSL"', ["CSL", "twice"]),
    ("instruments.toml", "[[instrument]]", "[[instrument]", ["read"]),
    ("evidence.toml", "years = 2", "years = 0", ["security_assessment_result", "years"]),
    ("evidence.toml", '"duty:impact_assessment"', '"duty:nothing"', ["impact_assessment_report", "duty:nothing"]),
    ("evidence.toml", 'after = ["standard_contract"', 'after = ["handshake"', ["filing_receipt", "handshake"]),
    ("exposure.toml", "max = 10000000 } }", "most = 10000000 } }", ["state_approval", "most"]),
    ("warnings.toml", 'code = "near_threshold"', 'kode = "near_threshold"', ["kode|code"]),
]


@pytest.mark.parametrize(("file", "old", "new", "told"), SPOILS, ids=[f"{s[0]}: {s[2].strip()[:40]}" for s in SPOILS])
def test_a_spoiled_file_is_refused_by_name(spoiled: Path, file: str, old: str, new: str, told: list[str]) -> None:
    text = (spoiled / file).read_text(encoding="utf-8")
    assert old in text
    (spoiled / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(RuleFileError) as refused:
        load(spoiled)
    message = str(refused.value)
    assert message.startswith(f"{file}: ")
    for part in told:
        assert any(word in message for word in part.split("|")), message


def test_a_missing_file_is_refused_by_name(spoiled: Path) -> None:
    (spoiled / "exposure.toml").unlink()
    with pytest.raises(RuleFileError, match=r"exposure\.toml"):
        load(spoiled)


def test_two_stretches_of_one_rule_may_not_overlap(spoiled: Path) -> None:
    file = spoiled / "rules.toml"
    text = file.read_text(encoding="utf-8")
    start = text.index('[[rule]]\nid = "small-volume"')
    end = text.index("[[rule]]", start + 1)
    file.write_text(text[:end] + text[start:end] + text[end:], encoding="utf-8")
    with pytest.raises(RuleFileError, match=r"rules\.toml: small-volume: .*overlaps"):
        load(spoiled)


def test_the_version_changes_with_any_byte(spoiled: Path) -> None:
    assert load(spoiled).version == BOOK.version
    file = spoiled / "texts.toml" if (spoiled / "texts.toml").exists() else spoiled / "exposure.toml"
    file.write_text(file.read_text(encoding="utf-8") + "# one more line\n", encoding="utf-8")
    assert load(spoiled).version != BOOK.version


def test_the_rules_of_a_day_are_listed_in_the_order_of_asking() -> None:
    ids = [rule["id"] for rule in BOOK.rules_on(date(2021, 9, 1))]
    assert ids == ["border", "core", "foreign-authority", "important", "general", "ciio", "no-rule-yet"]
    volume = next(rule for rule in BOOK.rules_on(date(2026, 1, 1)) if rule["id"] == "volume-contract-2024")
    assert volume["thresholds"] == {"contract_persons": 100_000, "contract_sensitive_persons": 1}


def test_volume_lines_tell_how_far_the_year_is_from_each() -> None:
    lines = {(line["id"]): line for line in BOOK.volume_lines(date(2026, 1, 1), Count(persons=99_990))}
    assert (lines["contract_persons"]["headroom"], lines["contract_persons"]["reached"]) == (9, False)
    assert lines["assessment_persons"]["headroom"] == 900_009


@pytest.mark.parametrize(
    ("kind", "issued_on", "ends_on"),
    [
        ("security_assessment_result", date(2024, 3, 21), date(2026, 3, 20)),
        ("security_assessment_result", date(2024, 3, 22), date(2027, 3, 21)),
        ("certificate", date(2024, 2, 29), date(2027, 2, 28)),
        ("certificate", date(2026, 1, 1), date(2028, 12, 31)),
        ("standard_contract", date(2026, 1, 1), None),
        ("security_assessment_result", date(2022, 1, 1), None),
    ],
)
def test_a_paper_lives_by_the_instrument_in_force_when_it_was_issued(
    kind: str, issued_on: date, ends_on: date | None
) -> None:
    assert BOOK.valid_until(kind, issued_on) == ends_on


def test_a_contract_is_followed_by_a_receipt() -> None:
    assert BOOK.follow_up_of("standard_contract", date(2026, 1, 1)) == FollowUp("filing_receipt", 10)
    assert BOOK.follow_up_of("certificate", date(2026, 1, 1)) is None


def test_of_days_before_the_first_the_book_says_nothing() -> None:
    with pytest.raises(ValueError, match="2021-09-01"):
        BOOK.edition(date(2021, 8, 31))
