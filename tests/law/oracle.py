"""The procedure of the law told once more, naively and in one go, to check the engine against; only the facts are shared."""

from __future__ import annotations

from datetime import date

from service.law.facts import Facts, FtzList, Origin, RecipientKind, Tag

ORDER = [
    "not_cross_border",
    "exempt",
    "standard_contract_or_certification",
    "security_assessment",
    "authority_approval",
    "state_approval",
    "prohibited",
]
PIPL = date(2021, 11, 1)
SAM = date(2022, 9, 1)
CERT = date(2022, 11, 18)
MIIT = date(2023, 1, 1)
SCM = date(2023, 6, 1)
CBDF = date(2024, 3, 22)
NDSMR = date(2025, 1, 1)


def oracle(facts: Facts) -> dict[str, object]:
    day, tags, country = facts.as_of, facts.dataset.tags, facts.recipient.country
    personal = bool(tags & {Tag.PERSONAL, Tag.SENSITIVE})
    if country == "CN":
        return {
            "mechanism": "not_cross_border",
            "exemption": None,
            "requirements": set(),
            "routes": [],
            "obligations": set(),
            "evidence": set(),
            "counts": False,
        }
    requirements: set[tuple[str, str]] = set()
    if facts.recipient.restricted and personal and day >= PIPL:
        requirements.add(("restricted-recipient", "prohibited"))
    if Tag.CORE in tags:
        requirements.add(("core", "state_approval"))
    if facts.recipient.kind == RecipientKind.JUDICIAL_OR_ENFORCEMENT:
        requirements.add(("foreign-authority", "authority_approval"))
    given = None
    if Tag.CORE not in tags:
        rule, mechanism, given = step_c(facts, personal=personal)
        requirements.add((rule, mechanism))
    strictest = max((mechanism for _, mechanism in requirements), key=ORDER.index)
    routes = contract_routes(facts)
    asked = {mechanism for _, mechanism in requirements}
    obligations = duties(facts, asked, given, personal=personal)
    return {
        "mechanism": strictest,
        "exemption": given if strictest == "exempt" else None,
        "requirements": requirements,
        "routes": {
            "standard_contract_or_certification": routes,
            "security_assessment": ["security_assessment"],
            "authority_approval": ["authority_approval"],
            "state_approval": ["state_approval"],
        }.get(strictest, []),
        "obligations": obligations,
        "evidence": papers(asked, given, obligations, routes),
        "counts": personal and given in {None, "small_volume"},
    }


def step_c(facts: Facts, *, personal: bool) -> tuple[str, str, str | None]:  # noqa: C901, PLR0912 - told in one go
    day, data, claim = facts.as_of, facts.dataset, facts.transfer.necessity
    persons = facts.ledger.this_year.persons + facts.transfer.persons
    sensitive = facts.ledger.this_year.sensitive_persons + facts.transfer.sensitive_persons
    before = facts.ledger.previous_year
    if Tag.IMPORTANT in data.tags:
        return "important", "security_assessment", None
    if not personal:
        return "general", "exempt", "general_data"
    if day >= CBDF and data.origin == Origin.FOREIGN and not data.domestic_data_added:
        return "foreign-origin", "exempt", "foreign_origin"
    if day >= CBDF and facts.handler.in_ftz and data.ftz_list == FtzList.UNLISTED:
        return "ftz-unlisted", "exempt", "ftz_unlisted"
    if day >= CBDF and claim in {"contract", "hr", "emergency"}:
        return f"necessity-{claim}", "exempt", str(claim)
    if day >= NDSMR and claim == "statutory_duty":
        return "necessity-statutory", "exempt", "statutory_duty"
    if facts.handler.ciio:
        return "ciio", "security_assessment", None
    if day < PIPL:
        return "no-rule-yet", "exempt", "not_in_force"
    if day >= CBDF:
        if persons >= 1_000_000 or sensitive >= 10_000:
            return "volume-assessment-2024", "security_assessment", None
        if persons >= 100_000 or sensitive >= 1:
            return "volume-contract-2024", "standard_contract_or_certification", None
        return "small-volume", "exempt", "small_volume"
    if day >= SAM:
        sensitive_total = sensitive + before.sensitive_persons
        if (
            (facts.handler.pi_subjects or 0) >= 1_000_000
            or sensitive_total >= 10_000
            or persons + before.persons + sensitive_total >= 100_000
        ):
            return "volume-assessment-2022", "security_assessment", None
    return "pipl-38", "standard_contract_or_certification", None


def contract_routes(facts: Facts) -> list[str]:
    day, both = facts.as_of, facts.handler.in_gba and facts.recipient.in_gba
    routes = ["standard_contract"] if day >= SCM else []
    routes += ["certification"] if day >= CERT else []
    opens = {"HK": date(2023, 12, 13), "MO": date(2024, 9, 10)}.get(facts.recipient.country)
    return [*routes, "gba_standard_contract"] if both and opens is not None and day >= opens else routes


def duties(facts: Facts, asked: set[str], given: str | None, *, personal: bool) -> set[str]:
    day, tags, found = facts.as_of, facts.dataset.tags, set()
    if personal and day >= PIPL:
        if given not in {"emergency", "foreign_origin"}:
            found.add("notify_individuals")
        if given != "foreign_origin":
            found.add("impact_assessment")
            if facts.transfer.legal_basis == "consent":
                found |= {"separate_consent"} | ({"guardian_consent"} if facts.dataset.contains_minors else set())
    if "standard_contract_or_certification" in asked and day >= SCM:
        found.add("file_standard_contract")
    if "security_assessment" in asked:
        found |= {"risk_self_assessment"} if day >= SAM else set()
        found |= {"stay_within_assessed_scope"} if day >= NDSMR else set()
    if tags & {Tag.IMPORTANT, Tag.CORE}:
        found |= {"annual_risk_report", "data_security_officer"}
        found |= {"catalogue_filing"} if day >= MIIT else set()
        found |= {"important_data_risk_assessment"} if day >= NDSMR else set()
    if facts.handler.listing_abroad and facts.handler.platform_users > 1_000_000 and day >= date(2022, 2, 15):
        found.add("cybersecurity_review")
    return found


def papers(asked: set[str], given: str | None, obligations: set[str], routes: list[str]) -> set[str]:
    found: set[str] = set()
    if "state_approval" in asked:
        found |= {"state_approval", "security_assessment_result"}
    if "authority_approval" in asked:
        found |= {"authority_approval"}
    if "security_assessment" in asked:
        found |= {"security_assessment_result", "self_assessment_report", "legal_instrument"}
    if "standard_contract_or_certification" in asked and routes:
        found |= {{"standard_contract": "standard_contract", "certification": "certificate"}[routes[0]]}
    if given in {"contract", "hr", "emergency", "statutory_duty"}:
        found |= {"necessity_statement"} | ({"labour_rules"} if given == "hr" else set())
    found |= {"foreign_origin": {"origin_statement"}, "ftz_unlisted": {"negative_list_check"}}.get(given or "", set())
    found |= {"impact_assessment_report"} if "impact_assessment" in obligations else set()
    found |= {"consent_record"} if obligations & {"separate_consent", "guardian_consent"} else set()
    return found | ({"review_clearance"} if "cybersecurity_review" in obligations else set())
