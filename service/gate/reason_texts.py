"""Why the gate answered as it did, for the people behind the systems that ask."""

from collections.abc import Mapping
from typing import Final

from service.gate.decide import Reason

REASONS: Final[Mapping[Reason, Mapping[str, str]]] = {
    Reason.DATASET_UNKNOWN: {
        "en": "The dataset is not in the register, or this system may not export for its handler.",
        "zh": "数据集未登记，或者本系统无权为该数据处理者出境数据。",
    },
    Reason.DATASET_UNGRADED: {
        "en": "Nobody has graded the dataset yet; until then nothing of it leaves.",
        "zh": "数据集尚未分级，分级前不得出境。",
    },
    Reason.RECIPIENT_UNKNOWN: {"en": "The recipient is not in the register.", "zh": "接收方未登记。"},
    Reason.NOT_CROSS_BORDER: {
        "en": "The recipient is in mainland China: nothing crosses the border.",
        "zh": "接收方位于中国内地，数据未出境。",
    },
    Reason.TAGS_CONTRADICTED: {
        "en": "What is stated contradicts the dataset's tags: its persons do not fit them. It is on the registrar's list; "
        "state the persons anew, or have the dataset graded again.",
        "zh": "所报人数与数据集的分级不符，已列入登记人员的待核清单；请核对人数，或者重新分级。",
    },
    Reason.GRADING_OUTDATED: {
        "en": "No grading has looked at some of these fields: they came, or changed, after it. Have the dataset graded again.",
        "zh": "所申请的部分字段为分级之后新增或者变更，尚未经分级，请重新分级。",
    },
    Reason.GENERAL_DATA: {
        "en": "The dataset is general data, for which the law asks for no mechanism.",
        "zh": "数据集属于一般数据，无需履行出境手续。",
    },
    Reason.PROHIBITED: {"en": "The law prohibits this export.", "zh": "法律禁止该数据出境。"},
    Reason.NO_PERMIT: {
        "en": "No permit covers this dataset and recipient today. Request a transfer.",
        "zh": "当前没有适用于该数据集和接收方的许可，请提交出境申请。",
    },
    Reason.PERMIT_SUSPENDED: {
        "en": "The permit is suspended, by a reviewer or by an overdue duty. Ask the reviewers of the handler.",
        "zh": "许可已被审批人员暂停，或者因义务逾期未履行而暂停，请联系审批人员。",
    },
    Reason.PERMIT_REVOKED: {
        "en": "The permit has been revoked. Request a new transfer.",
        "zh": "许可已被撤销，请重新申请。",
    },
    Reason.PERMIT_NOT_BEGUN: {
        "en": "The permit has not begun yet; see its first day.",
        "zh": "许可尚未生效，请见许可起始日期。",
    },
    Reason.PERMIT_EXPIRED: {"en": "The permit has ended. Request a new transfer.", "zh": "许可已到期，请重新申请。"},
    Reason.GRADING_CHANGED: {
        "en": "The dataset has been graded anew since the permit was issued. Request a new transfer.",
        "zh": "许可签发后数据集的分级已变更，请重新申请。",
    },
    Reason.EVIDENCE_LAPSED: {
        "en": "What the permit rests on no longer stands: a paper has been withdrawn, or the facts now ask for more.",
        "zh": "许可所依据的材料已撤回或者失效，或者事实变化后法律要求更高。",
    },
    Reason.PURPOSE_NOT_COVERED: {"en": "The permit is for another purpose.", "zh": "许可不包含该用途。"},
    Reason.FIELDS_NOT_COVERED: {
        "en": "The permit does not cover all of these fields.",
        "zh": "许可不包含所申请的全部字段。",
    },
    Reason.SYSTEM_NOT_COVERED: {"en": "The permit is not for this system.", "zh": "许可不适用于本系统。"},
    Reason.QUOTA_EXCEEDED: {
        "en": "This would be more persons than the permit has left.",
        "zh": "超出许可剩余的人数额度。",
    },
    Reason.LEDGER_THRESHOLD: {
        "en": "This would take the handler's count of the year past the line up to which the permit serves.",
        "zh": "将使该数据处理者的年度累计人数超过该许可适用的门槛。",
    },
    Reason.PERMITTED: {"en": "A permit covers this export.", "zh": "许可允许该数据出境。"},
}

_REQUEST: Final = {"href": "/v1/transfers", "method": "POST"}
NEXT: Final[Mapping[Reason, Mapping[str, str]]] = {
    Reason.DATASET_UNKNOWN: {"href": "/v1/datasets", "method": "POST"},
    Reason.RECIPIENT_UNKNOWN: {"href": "/v1/recipients", "method": "POST"},
    Reason.TAGS_CONTRADICTED: {"href": "/v1/gradings", "method": "POST"},
    Reason.GRADING_OUTDATED: {"href": "/v1/gradings", "method": "POST"},
} | dict.fromkeys(
    (
        Reason.NO_PERMIT,
        Reason.PERMIT_REVOKED,
        Reason.PERMIT_EXPIRED,
        Reason.GRADING_CHANGED,
        Reason.PURPOSE_NOT_COVERED,
        Reason.FIELDS_NOT_COVERED,
        Reason.SYSTEM_NOT_COVERED,
        Reason.QUOTA_EXCEEDED,
        Reason.LEDGER_THRESHOLD,
    ),
    _REQUEST,
)
"""What to do about a no."""
