"""A company's own rules: what they add, and what of them is refused."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from service.law import loader, policy
from service.law.determination import determine
from service.law.explanation import render_determination
from service.law.facts import Count
from service.law.policy import PolicyFileError
from service.law.rule_book import RuleBook
from service.transfers.workflow import stages_for
from tests.law.builders import a_case

FILE = """
[thresholds]
contract_persons = 50000

[service_times]
privacy = 24

[[stage]]
role = "executive"
tags = ["important"]

[[stage]]
role = "security"
countries = ["US", "DE"]
mechanisms = ["exempt"]

[[stage]]
role = "legal"
recipients = ["harbour-analytics"]

[[bar]]
id = "no-personal-to-us"
countries = ["US"]
tags = ["sensitive"]
text = { en = "Sensitive information stays out of the US.", zh = "敏感个人信息不得提供至美国。" }

[[evidence]]
kind = "dpo_opinion"
tags = ["personal"]
text = { en = "The opinion of the data protection officer", zh = "个人信息保护负责人意见" }

[[evidence]]
kind = "impact_assessment_report"
text = { en = "Always a report", zh = "始终需要评估报告" }
"""


@pytest.fixture
def book(tmp_path: Path) -> RuleBook:
    (tmp_path / "policy.toml").write_text(FILE, encoding="utf-8")
    return loader.load_rule_book(tmp_path / "policy.toml")


def codes(found: Any) -> list[str]:
    return [item.code for item in found]


def test_a_lower_threshold_asks_for_more_sooner(book: RuleBook) -> None:
    facts = a_case(transfer={"persons": 50_000})
    assert determine(facts, loader.load()).mechanism == "exempt"
    assert determine(facts, book).mechanism == "standard_contract_or_certification"


def test_stages_are_added_where_their_conditions_fit(book: RuleBook) -> None:
    important = determine(a_case(dataset={"tags": ["important"]}, transfer={"persons": 0}), book)
    assert [str(stage) for stage in stages_for(important)] == [
        "data_owner",
        "privacy",
        "legal",
        "security",
        "executive",
    ]
    to_germany = determine(a_case(transfer={"persons": 1}, recipient={"country": "DE"}), book)
    assert [str(stage) for stage in stages_for(to_germany)] == ["privacy", "security"]
    facts = a_case(transfer={"persons": 1})
    known = replace(facts, recipient=replace(facts.recipient, key="harbour-analytics"))
    assert determine(facts, book).stages == ()
    assert determine(known, book).stages == ("legal",)
    core = determine(a_case(dataset={"tags": ["core"]}, transfer={"persons": 0}), book)
    assert core.stages == ("executive",)


def test_a_bar_prohibits_and_says_why(book: RuleBook) -> None:
    facts = a_case(
        dataset={"tags": ["sensitive"]}, transfer={"sensitive_persons": 1, "persons": 0}, recipient={"country": "US"}
    )
    found = determine(facts, book)
    assert found.mechanism == "prohibited"
    told = render_determination(facts, found, book)
    assert told["requirements"][-1] == {
        "rule": "policy-bar:no-personal-to-us",
        "mechanism": "prohibited",
        "routes": [],
        "citations": [{"instrument": "POLICY", "article": "no-personal-to-us"}],
    }
    assert "Sensitive information stays out of the US" in told["explanation"]["en"]
    assert "敏感个人信息不得提供至美国" in told["explanation"]["zh"]
    plain = determine(a_case(transfer={"persons": 1}, recipient={"country": "US"}), book)
    assert plain.mechanism == "exempt"


def test_evidence_is_wanted_once_and_told_in_the_words_of_the_file(book: RuleBook) -> None:
    facts = a_case(transfer={"persons": 1})
    told = render_determination(facts, determine(facts, book), book)
    found = {item["code"]: item["text"]["en"] for item in told["evidence"]}
    assert found["dpo_opinion"] == "The opinion of the data protection officer"
    assert [item["code"] for item in told["evidence"]].count("impact_assessment_report") == 1
    general = determine(a_case(dataset={"tags": []}, transfer={"persons": 0}), book)
    assert codes(general.evidence) == ["impact_assessment_report"]
    assert book.kinds >= {"dpo_opinion", "standard_contract"}


def test_the_hash_stands_in_every_determination(book: RuleBook) -> None:
    for facts in (a_case(), a_case(recipient={"country": "CN"})):
        found = determine(facts, book)
        assert found.policy is not None
        assert render_determination(facts, found, book)["policy"] == found.policy
        assert determine(facts, loader.load()).policy is None


def test_service_times_are_those_of_the_file_or_three_days(book: RuleBook) -> None:
    assert (book.service_hours("privacy"), book.service_hours("legal")) == (24, 72)
    assert loader.load().service_hours("privacy") == 72


TEXT = 'text = { en = "x", zh = "y" }'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[thresholds]\ncontract_persons = 100001", "contract_persons"),
        ("[thresholds]\nassessment_persons = 1000001", "policy.toml: thresholds.assessment_persons: must not be above"),
        ("[thresholds]\nhandled_persons = 1000001", "must not be above the law's 1000000"),
        (f"[thresholds]\ncontract_persons = {'9' * 5000}", "policy.toml: -: cannot be read"),
        (f"deep = {'[' * 5000}", "policy.toml: -: cannot be read"),
        ("[thresholds]\ncontract_persons = nan", "thresholds.contract_persons"),
        ("[thresholds]\ncontract_persons = true", "thresholds.contract_persons"),
        ("[thresholds]\ncontract_persons = 1\ncontract_persons = 2", "cannot be read"),
        ('stage = "legal"', "policy.toml: stage"),
        ("[thresholds]\nnear = 90", "near"),
        ("[thresholds]\nnobody_knows = 1", "nobody_knows"),
        ("[thresholds]\ncontract_persons = 0", "contract_persons"),
        ('[[stage]]\nrole = "judge"', "stage.0.role"),
        ('[[stage]]\nrole = "legal"\nunless = ["x"]', "unless"),
        ('[[stage]]\nrole = "legal"\ntags = []', "tags"),
        ('[[stage]]\nrole = "legal"\ntags = ["secret"]', "tags"),
        ('[[stage]]\nrole = "legal"\nmechanisms = ["prohibited"]', "mechanisms"),
        ('[[stage]]\nrole = "legal"\ncountries = ["XX"]', "stage.0.countries"),
        (f'[[bar]]\nid = "a"\ncountries = ["US", "Q1"]\n{TEXT}', "bar.0.countries"),
        (f'[[bar]]\nid = "a"\ncountries = ["CN"]\n{TEXT}', "CN"),
        ('[[bar]]\nid = "a"\ncountries = ["US"]\ntext = { en = "x" }', "zh"),
        (f'[[bar]]\nid = "a"\ncountries = ["US"]\n{TEXT}\n[[bar]]\nid = "a"\ncountries = ["DE"]\n{TEXT}', "twice"),
        (f'[[evidence]]\nkind = "No Good"\n{TEXT}', "evidence.0.kind"),
        ("[service_times]\nprivacy = 0", "service_times"),
        ("[[stage]\n", "cannot be read"),
        ("exempt = true", "exempt"),
    ],
)
def test_a_file_that_would_free_something_or_cannot_be_read_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(PolicyFileError, match=r".") as refused:
        loader.load(policy=policy.load(path))
    assert said in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyFileError, match="gone"):
        policy.load(tmp_path / "gone.toml")


def test_a_line_above_a_former_law_serves_today_and_frees_nothing_of_then(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[thresholds]\nassessment_persons = 500000\n", encoding="utf-8")
    strict = loader.load(policy=policy.load(path))
    assert determine(a_case(transfer={"persons": 500_000}), strict).mechanism == "security_assessment"
    then = a_case(date(2023, 7, 1), transfer={"persons": 100_000})
    assert determine(then, strict).mechanism == "security_assessment"
    assert strict.edition(date(2023, 7, 1)).thresholds["assessment_persons"] == 100_000


def test_a_line_of_the_company_is_not_told_as_the_laws(book: RuleBook) -> None:
    facts = a_case(transfer={"persons": 50_000})
    told = render_determination(facts, determine(facts, book), book)["explanation"]
    assert "The line contract_persons is the company's own: 50,000, where the law has 100,000" in told["en"]
    assert "门槛contract_persons为公司制度所定：50000，法定为100000" in told["zh"]
    shown = next(rule for rule in book.rules_on(facts.as_of) if rule["id"] == "volume-contract-2024")
    assert shown["thresholds"]["contract_persons"] == 50_000
    assert shown["law_thresholds"]["contract_persons"] == 100_000
    line = next(one for one in book.volume_thresholds(facts.as_of, Count()) if one["id"] == "contract_persons")
    assert (line["value"], line["law_value"], line["headroom"]) == (50_000, 100_000, 49_999)


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[service_times]\nprivacy = 5\n", encoding="utf-8-sig")
    assert policy.load(path).service_hours("privacy", 72) == 5


def test_the_recipients_that_conditions_name_are_known(book: RuleBook) -> None:
    assert book.policy is not None
    assert book.policy.recipients == {"harbour-analytics"}


def test_an_empty_file_changes_nothing_but_the_hash(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("", encoding="utf-8")
    found = determine(a_case(), loader.load(policy=policy.load(path)))
    assert replace(found, policy=None) == determine(a_case(), loader.load())
