"""The duties in words, with the articles that they come from."""

from collections.abc import Mapping
from typing import Any, Final

from service.obligations.obligation_rules import Code

TEXTS: Final[Mapping[Code, Mapping[str, Any]]] = {
    Code.FILE_STANDARD_CONTRACT: {
        "en": "File the standard contract with the provincial CAC within 10 working days of its taking effect, and add the receipt.",
        "zh": "在标准合同生效之日起10个工作日内向省级网信部门备案，并上传备案回执。",
        "citations": [{"instrument": "SCM", "article": "7"}],
    },
    Code.RENEW_ASSESSMENT: {
        "en": "Ask for the extension of the security assessment 60 working days before it ends, and add the new result.",
        "zh": "在安全评估结果有效期届满60个工作日前申请延长，并上传新的评估结果。",
        "citations": [{"instrument": "SAM", "article": "14"}, {"instrument": "CBDF", "article": "9"}],
    },
    Code.RENEW_IMPACT_ASSESSMENT: {
        "en": "Purpose or scope has changed: make the impact assessment anew, and add the report.",
        "zh": "目的或者范围已变更：重新开展个人信息保护影响评估，并上传报告。",
        "citations": [{"instrument": "PIPL", "article": "55"}, {"instrument": "PIPL", "article": "56"}],
    },
    Code.ANNUAL_RISK_REPORT: {
        "en": "Assess the risks of the important data and report to the authority, once a year.",
        "zh": "每年对重要数据开展风险评估，并向主管部门报送报告。",
        "citations": [{"instrument": "DSL", "article": "30"}, {"instrument": "NDSMR", "article": "33"}],
    },
    Code.CATALOGUE_REFILING: {
        "en": "The scale of important or core data has changed by 30 % or more: file the catalogue anew within 3 months.",
        "zh": "重要数据或者核心数据的规模变化达到30%以上：在3个月内重新备案目录。",
        "citations": [{"instrument": "MIIT", "article": "12"}],
    },
}
