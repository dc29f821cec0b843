"""Compares two revisions of a request, member by member, with a sentence for each change. Pure.

Example:
    changes = compare_contents(earlier.content, revision.content)
    changed_parts = {change.part for change in changes}
    print([change.en for change in changes])
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Change:
    """A difference: its pointer, the value before and after, and a sentence in English and Chinese."""

    part: str
    """The part of the case that it belongs to: a member of the request, or `handler`, `datasets`, `recipient`, `determination`."""
    pointer: str
    before: Any
    after: Any
    en: str
    zh: str


_LABELS: Final[Mapping[str, tuple[str, str]]] = {
    "purpose": ("Purpose", "目的"),
    "description": ("Description", "说明"),
    "fields": ("Fields", "字段"),
    "systems": ("Systems", "系统"),
    "persons": ("Persons", "人数"),
    "sensitive_persons": ("Persons with sensitive information", "敏感个人信息人数"),
    "sensitive_left_out": ("Sensitive fields left out", "不提供敏感字段"),
    "method": ("Method", "方式"),
    "necessity": ("Claimed necessity", "主张的必要情形"),
    "legal_basis": ("Legal basis", "合法性基础"),
    "route": ("Route", "路径"),
    "valid_from": ("First day", "起始日"),
    "valid_until": ("Last day", "截止日"),
    "key": ("Key", "标识"),
    "name": ("Name", "名称"),
    "uscc": ("Unified social credit code", "统一社会信用代码"),
    "title": ("Title", "标题"),
    "tags": ("Tags", "分级标签"),
    "facts": ("Facts", "事实"),
    "country": ("Country", "国家或者地区"),
    "kind": ("Kind", "类型"),
    "mechanism": ("What the law asks for", "法定要求"),
    "exemption": ("Exemption", "豁免情形"),
    "routes": ("Routes", "可选路径"),
    "requirements": ("Requirements", "要求"),
    "evidence": ("Evidence asked for", "所需材料"),
    "obligations": ("Obligations", "义务"),
    "warnings": ("Warnings", "提示"),
    "id": ("Which one", "对象"),
    "policy": ("Company policy", "公司制度"),
}
_UNRESTRICTED: Final = {"fields": ("all", "全部"), "systems": ("every exporter", "全部系统")}


def compare_contents(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return the differences between the contents of two revisions, in reading order."""
    return [
        *_compare_members("/request", before["request"], after["request"]),
        *_compare_part("handler", before["handler"], after["handler"]),
        *_compare_datasets(before["datasets"], after["datasets"]),
        *_compare_part("recipient", before["recipient"], after["recipient"]),
    ]


def compare_with_permit(permit: Mapping[str, Any], request: Mapping[str, Any]) -> list[Change]:
    """Return the differences between a permit and the request that renews it, without their days.

    Args:
        permit: `purpose`, `persons`, `sensitive_persons`, `fields` and `systems` of the permit, as narrowed.
        request: the same members of the request.
    """
    before, after = ({name: _sorted(side[name]) for name in permit} for side in (permit, request))
    return list(_compare_members("/request", before, after))


def _sorted(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def compare_determinations(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return the differences between the determinations of two revisions, limited to the members that reviewers need."""
    was, now = _summarize(before), _summarize(after)
    return [
        _change("determination", f"/determination/{name}", name, was[name], now[name])
        for name in was
        if was[name] != now[name]
    ]


def _summarize(determination: Mapping[str, Any]) -> dict[str, Any]:
    gist: dict[str, Any] = {name: determination.get(name) for name in ("mechanism", "exemption", "policy")}
    gist["requirements"] = [requirement["rule"] for requirement in determination["requirements"]]
    for name in ("evidence", "obligations", "warnings"):
        gist[name] = [item["code"] for item in determination[name]]
    return gist


def _compare_members(pointer: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in after:
        if before.get(name) != after[name]:
            yield _change(name, f"{pointer}/{name}", name, before.get(name), after[name])


def _compare_part(part: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in after:
        # An earlier revision may lack a member that was added later; a missing member is no change.
        if name in before and before[name] != after[name]:
            yield _change(part, f"/{part}/{name}", name, before[name], after[name])


def _compare_datasets(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Iterator[Change]:
    was, now = ({dataset["id"]: dataset for dataset in side} for side in (before, after))
    for added in sorted(now.keys() - was.keys()):
        key = now[added]["key"]
        yield Change("datasets", f"/datasets/{added}", None, key, f"Dataset added: {key}.", f"新增数据集：{key}。")
    for removed in sorted(was.keys() - now.keys()):
        key = was[removed]["key"]
        yield Change("datasets", f"/datasets/{removed}", key, None, f"Dataset removed: {key}.", f"移除数据集：{key}。")
    for kept in sorted(was.keys() & now.keys()):
        for name in ("title", "tags", "facts", "fields"):
            if name in was[kept] and was[kept][name] != now[kept][name]:
                change = _change("datasets", f"/datasets/{kept}/{name}", name, was[kept][name], now[kept][name])
                key = now[kept]["key"]
                yield Change(
                    change.part,
                    change.pointer,
                    change.before,
                    change.after,
                    f"Dataset {key}: {change.en}",
                    f"数据集{key}：{change.zh}",
                )


def _change(part: str, pointer: str, name: str, before: Any, after: Any) -> Change:
    en, zh = _LABELS[name]
    if isinstance(before, list) and isinstance(after, list):
        names = [_name(member) for member in before], [_name(member) for member in after]
        added = [member for member in names[1] if member not in names[0]]
        gone = [member for member in names[0] if member not in names[1]]
        if added or gone:
            return Change(
                part,
                pointer,
                before,
                after,
                _describe_members(en, added, gone, "en"),
                _describe_members(zh, added, gone, "zh"),
            )
        members = _changed_members(before, after)
        if members:
            changes_en = ", ".join(f"{name} from ({was}) to ({now})" for name, was, now in members)
            changes_zh = "、".join(f"{name}由（{was}）变更为（{now}）" for name, was, now in members)
            return Change(part, pointer, before, after, f"{en}: {changes_en}.", f"{zh}：{changes_zh}。")
    was, now = _describe(name, before), _describe(name, after)
    return Change(
        part, pointer, before, after, f"{en}: from {was[0]} to {now[0]}.", f"{zh}：由{was[1]}变更为{now[1]}。"
    )


def _changed_members(before: Sequence[Any], after: Sequence[Any]) -> list[tuple[str, str, str]]:
    """Return the members of the same name that have changed, such as a field of another category, as (name, before, after)."""
    was = {_name(member): member for member in before if isinstance(member, Mapping)}
    return [
        (_name(member), _describe("", was[_name(member)])[0], _describe("", member)[0])
        for member in after
        if isinstance(member, Mapping) and was[_name(member)] != member
    ]


def _name(member: Any) -> str:
    return str(member["name"]) if isinstance(member, Mapping) else str(member)


def _describe_members(name: str, added: Sequence[str], gone: Sequence[str], language: str) -> str:
    words = {"en": (": ", "added ", "removed ", "; ", ", ", "."), "zh": ("：", "新增", "移除", "；", "、", "。")}[
        language
    ]
    colon, plus, minus, between_parts, comma, stop = words
    parts = [word + comma.join(members) for word, members in ((plus, added), (minus, gone)) if members]
    return name + colon + between_parts.join(parts) + stop


def _describe(name: str, value: Any) -> tuple[str, str]:
    if value is None:
        return _UNRESTRICTED.get(name, ("nothing", "无"))
    if isinstance(value, list):
        members = [_name(member) for member in value]
        return (", ".join(members) or "none", "、".join(members) or "无")
    if isinstance(value, Mapping):
        said = "; ".join(f"{key} = {member}" for key, member in sorted(value.items()))
        return (said or "nothing", said or "无")
    return (str(value), str(value))
