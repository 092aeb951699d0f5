"""The look of the pages (one style sheet inside each page, named by its hash in the CSP)."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from kerwen.api.pages.html import Html

STYLE: Final = """
:root{--ground:#FBF8F3;--surface:#FFF;--ink:#1F1A17;--quiet:#6B625B;--line:#E7DFD5;--edge:#8C8178;
--brand:#8E1B2E;--on-brand:#FFF;--tint:#F6E7E6;--link:#0F6F73;--good:#2E7D4F;--danger:#B3261E;
--on-danger:#FFF;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--ground:#161312;--surface:#1F1B19;--ink:#F2ECE5;
--quiet:#A79C92;--line:#352E2A;--edge:#7D736B;--brand:#E8778A;--on-brand:#161312;--tint:#3A2025;
--link:#5CC7C9;--good:#6CC08B;--danger:#F2877F;--on-danger:#161312}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;min-height:100vh;min-height:100dvh;display:flex;flex-direction:column;
background:var(--ground);color:var(--ink);font:15px/22px system-ui,sans-serif;
overflow-wrap:break-word}
header,footer{display:flex;gap:8px 16px;align-items:center;flex-wrap:wrap}
header,main,footer{width:100%;max-width:472px;margin:0 auto;padding:16px}
.wide>*{max-width:672px}
header a{display:inline-flex;align-items:center;gap:8px;min-height:44px;color:var(--ink);
font-size:17px;font-weight:600;text-decoration:none}
header svg{width:28px;height:28px;color:var(--brand);flex:none}
header form{margin-left:auto}
main{padding:0 16px;flex:1}
footer{font-size:13px;line-height:18px;color:var(--quiet);justify-content:center}
footer a,footer b{display:inline-flex;min-height:44px;align-items:center;padding:0 4px}
footer b{color:var(--ink)}
section{background:var(--surface);border:1px solid var(--line);border-radius:12px;padding:20px;
margin:0 0 16px}
h1{font-size:22px;line-height:28px;margin:0 0 8px}
h2{font-size:17px;line-height:24px;margin:0 0 4px}
p{margin:0 0 12px}
section>:last-child,form>:last-child{margin-bottom:0}
a{color:var(--link)}
small,.quiet{font-size:13px;line-height:18px;color:var(--quiet)}
.field label{display:block;font-weight:600;margin-bottom:4px}
.field small{display:block;margin-top:4px}
input:not([type=checkbox]){width:100%;min-height:44px;padding:8px 12px;font:inherit;
color:var(--ink);background:var(--ground);border:1px solid var(--edge);border-radius:8px}
input.code{font-size:22px;letter-spacing:.1em;text-align:center;text-transform:uppercase}
.check{display:flex;gap:12px;align-items:center;min-height:44px}
.check input{width:20px;height:20px;flex:none;accent-color:var(--brand)}
button,a.main,a.quiet-button{display:inline-flex;align-items:center;justify-content:center;
min-height:44px;padding:8px 20px;font:inherit;font-weight:600;border-radius:22px;cursor:pointer;
border:1px solid transparent;text-decoration:none;text-align:center}
.main{background:var(--brand);color:var(--on-brand)}
button.quiet,a.quiet-button{background:transparent;border-color:var(--edge);color:var(--ink);
font-size:15px;line-height:22px}
.danger{background:var(--danger);color:var(--on-danger)}
.acts{display:flex;flex-wrap:wrap;gap:8px;margin-top:16px}
.acts>*{flex:1 1 auto}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
.note{border:1px solid var(--line);border-left:4px solid var(--link);border-radius:8px;
padding:12px;margin:0 0 12px;background:var(--surface)}
.note.bad{border-left-color:var(--danger)}
.note.good{border-left-color:var(--good)}
ul.rows{list-style:none;margin:0;padding:0}
ul.rows>li{border-top:1px solid var(--line)}
ul.rows>li:first-child{border-top:0}
ul.rows a{display:block;padding:10px 0;min-height:44px;color:var(--ink);text-decoration:none}
ul.rows b,ul.rows small{display:block}
ul.rows a:hover b{color:var(--link)}
ul.plain{margin:0 0 12px;padding-left:20px}
.qr svg{display:block;max-width:100%;height:auto;border-radius:8px}
.who{background:var(--tint);border-radius:8px;padding:8px 12px}
.big{font-size:28px;line-height:36px;font-weight:700;letter-spacing:.08em;text-align:center;
font-variant-numeric:tabular-nums}
dl{margin:0 0 12px;display:grid;grid-template-columns:auto 1fr;gap:4px 16px}
dt{color:var(--quiet)}
dd{margin:0;min-width:0;overflow-wrap:anywhere}
@media(max-width:400px){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:8px}}
@media(min-width:640px){main{padding-top:24px}.wide .acts>*{flex:0 1 auto}}
""".strip()

SOURCE: Final = f"'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
"""The style sheet as a source of the Content-Security-Policy."""

MARK: Final = Html(
    '<svg viewBox="0 0 32 32" fill="none" stroke="currentColor" stroke-width="2.4"'
    ' stroke-linejoin="round" stroke-linecap="round" aria-hidden="true">'
    '<path d="M10 2h12l8 8v12l-8 8H10l-8-8V10z"></path>'
    '<path d="M8 11h16v10H15l-4 4v-4H8z"></path><path d="M8 11l8 6 8-6"></path></svg>'
)
"""The octagon: a folded letter and a speech sign."""
