"""Pages of sign-in and sign-out. They need no script; values that a caller sent are escaped."""

from typing import Final

from jinja2 import Environment
from starlette.responses import HTMLResponse

_PAGE: Final = Environment(autoescape=True).from_string(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{ title }} · Outbound</title>
<link rel="icon" href="data:,"><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 12vh auto; padding: 0 1rem; color: #1b1f24; background: #fff }
h1 { font-size: 1.4rem } .do { font: inherit; display: inline-block; padding: .5rem 1rem; border: 0; border-radius: .3rem; color: #fff;
background: #14532d; text-decoration: none; cursor: pointer } .do:focus-visible { outline: 3px solid #86efac; outline-offset: 2px }
code { background: #f1f3f5; padding: .1rem .3rem }
</style></head><body><main><h1>{{ title }}</h1>
<p>{{ text }}{% if command %} <code>{{ command }}</code>{% endif %}</p>
{% if href %}<p><a class="do" href="{{ href }}">{{ label }}</a></p>{% endif %}
{% if action %}<form method="post" action="{{ action }}">
{% for name, value in fields.items() %}<input type="hidden" name="{{ name }}" value="{{ value }}">{% endfor %}
<button class="do">{{ label }}</button></form>{% endif %}
</main></body></html>
"""
)


def page(
    title: str,
    text: str,
    *,
    status: int = 200,
    command: str = "",
    href: str = "",
    action: str = "",
    label: str = "",
    fields: dict[str, str] | None = None,
) -> HTMLResponse:
    """Return a page with a sentence and one thing to do: a link, or a form with a button."""
    content = _PAGE.render(
        title=title, text=text, command=command, href=href, action=action, label=label, fields=fields or {}
    )
    # Within this site the browser tells where a form comes from; no other site learns anything.
    return HTMLResponse(content, status_code=status, headers={"Referrer-Policy": "same-origin"})
