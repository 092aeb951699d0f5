"""HTML that is right by the way it is made: text is escaped, only `Html` is not."""

from __future__ import annotations

from html import escape

_VOID = frozenset({"br", "hr", "input", "link", "meta", "path"})


class Html(str):
    """A piece of HTML. Only `el`, `join` and constants of this package make one."""

    __slots__ = ()


def text(part: str | None) -> Html:
    """A text as HTML; what is HTML already stays."""
    if part is None:
        return Html("")
    return part if isinstance(part, Html) else Html(escape(part, quote=True))


def join(*parts: str | None) -> Html:
    """Pieces one after another."""
    return Html("".join(text(part) for part in parts))


def el(element: str, /, *inside: str | None, **attributes: str | bool | None) -> Html:
    """An element. `class_` is written `class`, `aria_label` `aria-label`; None and False are left
    out, True stands alone."""
    opened = [element]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        written = key.rstrip("_").replace("_", "-")
        opened.append(written if value is True else f'{written}="{escape(str(value), quote=True)}"')
    start = f"<{' '.join(opened)}>"
    if element in _VOID:
        return Html(start)
    return Html(f"{start}{join(*inside)}</{element}>")


def field(
    label: str,
    name: str,
    *,
    kind: str = "text",
    value: str = "",
    hint: str | None = None,
    fill: str | None = None,
    **attributes: str | bool | None,
) -> Html:
    """A labelled input; `fill` is its `autocomplete`."""
    shown = {"value": value} if value and kind != "password" else {}
    plain = {} if kind == "password" or fill == "name" else {"autocapitalize": "none"}
    return el(
        "p",
        el("label", label, for_=name),
        el(
            "input",
            id=name,
            name=name,
            type=kind,
            autocomplete=fill,
            aria_describedby=f"{name}-hint" if hint else None,
            **plain,
            **shown,
            **attributes,
        ),
        el("small", hint, id=f"{name}-hint") if hint else None,
        class_="field",
    )


def button(label: str, /, *, look: str = "main", **attributes: str | bool | None) -> Html:
    """A button that sends its form; `look` is main, quiet or danger."""
    return el("button", label, type="submit", class_=look, **attributes)


def link(label: str, href: str, *, look: str | None = None) -> Html:
    """A link."""
    return el("a", label, href=href, class_=look)
