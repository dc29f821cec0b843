"""A file of the law data that cannot be used stops the start, and says which file and which key."""

import re
import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest

from service.law.facts import Count
from service.law.loader import DATA_DIRECTORY, load
from service.law.rule_book import FollowUp
from service.law.rule_files import RuleFileError
from tests.law.strategies import BOOK


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA_DIRECTORY, tmp_path / "data"))


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
    ("obligations.toml", 'zh = "取得个人对出境的单独同意。"', 'zh = " "', ["separate_consent", "zh"]),
    ("instruments.toml", 'zh = "数据安全法"', 'zh = "\t"', ["DSL", "zh"]),
    ("obligations.toml", "not exempt:emergency", "not exempt:emergancy", ["notify_individuals", "exempt:emergancy"]),
    ("rules.toml", "country:HK", "country:HX", ["gba-hong-kong", "country:HX"]),
    ("rules.toml", "country:HK", "country:", ["gba-hong-kong", "country:"]),
    ("evidence.toml", '"duty:impact_assessment"', '"duty:impact"', ["impact_assessment_report", "duty:impact"]),
    ("evidence.toml", "duty:guardian_consent", "duty:guard", ["consent_record", "duty:guard"]),
    (
        "evidence.toml",
        'instrument = "PIPL", article = "31", when = "contains_minors"',
        'instrument = "PIPL", article = "31", when = "duty:guard"',
        ["consent_record", "duty:guard"],
    ),
    (
        "evidence.toml",
        'instrument = "PIPL", article = "31", when = "contains_minors"',
        'instrument = "PIPL", article = "31", when = "minors"',
        ["consent_record", "vocabulary"],
    ),
    ("evidence.toml", 'kind = "certificate"\nfrom = 2026', 'kind = "diploma"\nfrom = 2026', ["diploma"]),
    ("evidence.toml", 'after = ["standard_contract"', 'after = ["contract"', ["filing_receipt.after", "contract"]),
    ("rules.toml", "below {contract_persons},", "below {contract_persons:,},", ["small-volume.text.en"]),
    ("rules.toml", "below {contract_persons},", "below {contract_persons.real},", ["small-volume.text.en"]),
    ("rules.toml", "below {contract_persons},", "below {contract_persons[x]},", ["small-volume.text.en"]),
    ("rules.toml", "不满{contract_persons}人", "不满{}人", ["small-volume.text.zh"]),
    ("rules.toml", "不满{contract_persons}人", "不满{contract_persons人", ["small-volume.text.zh"]),
    ("rules.toml", 'step = "border"', 'step = "frontier"', ["border", "step"]),
    ("rules.toml", 'route = "certification"', 'route = "certificate"', ["certification", "route"]),
    ("rules.toml", 'confidence = "M"', 'confidence = "X"', ["core", "confidence"]),
    ("rules.toml", "from = 2021-09-01", "from = 2021-09-01T00:00:00", ["border", "from"]),
    ("rules.toml", "from = 2021-09-01\nto = 2021-11-01", "from = 2021-11-02\nto = 2021-11-01", ["no-rule-yet", "to"]),
    ("thresholds.toml", "value = 100000\n", 'value = "100000"\n', ["assessment_persons", "value"]),
    ("thresholds.toml", "value = 100000\n", "value = 0\n", ["assessment_persons", "value"]),
    ("rules.toml", 'uncited = "Before', 'citations = [{ instrument = "DSL" }]\nuncited = "Before', ["no-rule-yet"]),
]


@pytest.mark.parametrize(("file", "old", "new", "told"), SPOILS, ids=[f"{s[0]}: {s[2].strip()[:60]}" for s in SPOILS])
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


FILES = sorted(file.name for file in DATA_DIRECTORY.glob("*.toml"))


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_refused_by_name(spoiled: Path, file: str) -> None:
    (spoiled / file).unlink()
    with pytest.raises(RuleFileError, match=f"^{file}: "):
        load(spoiled)


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_not_utf_8_is_refused_by_name(spoiled: Path, file: str) -> None:
    (spoiled / file).write_bytes((spoiled / file).read_bytes() + "# 数据".encode("gbk"))
    with pytest.raises(RuleFileError, match=f"^{file}: .*read"):
        load(spoiled)


@pytest.mark.parametrize("file", FILES)
def test_a_section_that_nobody_asked_for_is_refused_by_name(spoiled: Path, file: str) -> None:
    (spoiled / file).write_text((spoiled / file).read_text("utf-8") + "\n[[remark]]\nid = 'x'\n", "utf-8")
    with pytest.raises(RuleFileError, match=f"^{file}: remark"):
        load(spoiled)


def test_two_stretches_of_one_rule_may_not_overlap(spoiled: Path) -> None:
    file = spoiled / "rules.toml"
    text = file.read_text(encoding="utf-8")
    start = text.index('[[rule]]\nid = "small-volume"')
    end = text.index("[[rule]]", start + 1)
    file.write_text(text[:end] + text[start:end] + text[end:], encoding="utf-8")
    with pytest.raises(RuleFileError, match=r"rules\.toml: small-volume: .*overlaps"):
        load(spoiled)


@pytest.mark.parametrize("file", FILES)
def test_the_version_changes_with_any_byte(spoiled: Path, file: str) -> None:
    assert load(spoiled).version == BOOK.version
    (spoiled / file).write_bytes((spoiled / file).read_bytes() + b"\n")
    assert load(spoiled).version != BOOK.version


def test_the_version_is_a_sha_256() -> None:
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", BOOK.version)


def test_the_rules_of_a_day_are_listed_in_the_order_of_asking() -> None:
    ids = [rule["id"] for rule in BOOK.rules_on(date(2021, 9, 1))]
    assert ids == ["border", "core", "foreign-authority", "important", "general", "ciio", "no-rule-yet"]
    volume = next(rule for rule in BOOK.rules_on(date(2026, 1, 1)) if rule["id"] == "volume-contract-2024")
    assert volume["thresholds"] == {"contract_persons": 100_000, "contract_sensitive_persons": 1}


def test_volume_thresholds_tell_how_far_the_year_is_from_each() -> None:
    lines = {(line["id"]): line for line in BOOK.volume_thresholds(date(2026, 1, 1), Count(persons=99_990))}
    assert (lines["contract_persons"]["headroom"], lines["contract_persons"]["reached"]) == (9, False)
    assert lines["assessment_persons"]["headroom"] == 900_009


@pytest.mark.parametrize(
    ("kind", "issued_on", "ends_on"),
    [
        ("security_assessment_result", date(2024, 3, 21), date(2026, 3, 20)),
        ("security_assessment_result", date(2024, 3, 22), date(2027, 3, 21)),
        ("certificate", date(2024, 2, 29), date(2027, 2, 28)),
        ("certificate", date(2026, 1, 1), date(2028, 12, 31)),
        ("security_assessment_result", date(2022, 9, 1), date(2024, 8, 31)),
        ("security_assessment_result", date(2024, 2, 29), date(2026, 2, 28)),
        ("certificate", date(2024, 2, 28), date(2027, 2, 27)),
        ("certificate", date(2024, 3, 1), date(2027, 2, 28)),
        ("certificate", date(2025, 12, 31), date(2028, 12, 30)),
        ("certificate", date(2022, 11, 17), None),
        ("impact_assessment_report", date(2024, 3, 21), date(2024, 3, 21)),
        ("impact_assessment_report", date(2024, 3, 22), None),
        ("no_such_paper", date(2026, 1, 1), None),
        ("standard_contract", date(2026, 1, 1), None),
        ("security_assessment_result", date(2022, 1, 1), None),
    ],
)
def test_a_paper_lives_by_the_instrument_in_force_when_it_was_issued(
    kind: str, issued_on: date, ends_on: date | None
) -> None:
    assert BOOK.valid_until(kind, issued_on) == ends_on


@pytest.mark.parametrize(
    ("kind", "effective_on", "receipt"),
    [
        ("standard_contract", date(2023, 6, 1), FollowUp("filing_receipt", 10)),
        ("standard_contract", date(2023, 5, 31), None),
        ("gba_standard_contract", date(2026, 1, 1), FollowUp("filing_receipt", 10)),
        ("certificate", date(2026, 1, 1), None),
        ("filing_receipt", date(2026, 1, 1), None),
        ("no_such_paper", date(2026, 1, 1), None),
    ],
)
def test_a_contract_is_followed_by_a_receipt(kind: str, effective_on: date, receipt: FollowUp | None) -> None:
    assert BOOK.follow_up_of(kind, effective_on) == receipt


def test_the_book_says_nothing_of_days_before_the_data_security_law() -> None:
    with pytest.raises(ValueError, match="2021-08-31"):
        BOOK.edition(date(2021, 8, 31))


@pytest.mark.parametrize(
    ("day", "came", "went"),
    [
        (date(2021, 11, 1), {"restricted-recipient", "pipl-38"}, {"no-rule-yet"}),
        (date(2022, 9, 1), {"volume-assessment-2022"}, set()),
        (
            date(2024, 3, 22),
            {
                "foreign-origin",
                "ftz-unlisted",
                "necessity-contract",
                "necessity-hr",
                "necessity-emergency",
                "volume-assessment-2024",
                "volume-contract-2024",
                "small-volume",
            },
            {"volume-assessment-2022", "pipl-38"},
        ),
        (date(2025, 1, 1), {"necessity-statutory"}, set()),
    ],
)
def test_rules_come_and_go_on_their_day(day: date, came: set[str], went: set[str]) -> None:
    before, after = ({rule["id"] for rule in BOOK.rules_on(d)} for d in (day - timedelta(days=1), day))
    assert (after - before, before - after) == (came, went)


def test_a_rule_as_json_has_its_days_its_condition_and_its_articles() -> None:
    rule = next(rule for rule in BOOK.rules_on(date(2023, 1, 1)) if rule["id"] == "pipl-38")
    assert (rule["in_force_from"], rule["in_force_until"]) == (date(2021, 11, 1), date(2024, 3, 22))
    assert rule["citations"] == [{"instrument": "PIPL", "article": "38"}]
    later = next(rule for rule in BOOK.rules_on(date(2023, 6, 1)) if rule["id"] == "pipl-38")
    assert [citation["instrument"] for citation in later["citations"]] == ["PIPL", "SCM"]
    assert next(r for r in BOOK.rules_on(date(2026, 1, 1)) if r["id"] == "core")["in_force_until"] is None


def test_the_instruments_are_those_of_the_specification() -> None:
    assert {one["code"]: one["in_force_from"] for one in BOOK.instruments} == {
        "CSL": date(2017, 6, 1),
        "DSL": date(2021, 9, 1),
        "PIPL": date(2021, 11, 1),
        "CRM": date(2022, 2, 15),
        "SAM": date(2022, 9, 1),
        "CERT-2022": date(2022, 11, 18),
        "MIIT": date(2023, 1, 1),
        "SCM": date(2023, 6, 1),
        "GBA-HK": date(2023, 12, 13),
        "GBA-MO": date(2024, 9, 10),
        "CBDF": date(2024, 3, 22),
        "GBT-43697": date(2024, 10, 1),
        "NDSMR": date(2025, 1, 1),
        "GBT-45574": date(2025, 11, 1),
        "CERT-2025": date(2026, 1, 1),
    }
    assert all(one["title"]["en"] and one["title"]["zh"] for one in BOOK.instruments)


def test_the_kinds_of_evidence_are_those_of_the_specification() -> None:
    assert BOOK.kinds == {
        "state_approval",
        "authority_approval",
        "security_assessment_result",
        "self_assessment_report",
        "legal_instrument",
        "standard_contract",
        "certificate",
        "gba_standard_contract",
        "filing_receipt",
        "necessity_statement",
        "labour_rules",
        "origin_statement",
        "negative_list_check",
        "impact_assessment_report",
        "consent_record",
        "review_clearance",
    }
