"""The looks of the report's page: two palettes and one style sheet, for screens, phones and paper."""

from __future__ import annotations

from typing import Final

__all__ = ["DARK", "LIGHT", "STYLE"]

LIGHT: Final = {
    "back": "#ffffff",
    "raised": "#f4f5f7",
    "line": "#6b7280",
    "text": "#1b1f24",
    "soft": "#4b5563",
    "link": "#0b57a4",
    "good": "#17662f",
    "bad": "#b01717",
    "warn": "#7a4f00",
    "run": "#0b57a4",
    "bar-text": "#ffffff",
}
"""Colours by their use; text in each of them is readable on ``back`` and ``raised`` (4.5 to 1)."""
DARK: Final = {
    "back": "#14171c",
    "raised": "#1f242c",
    "line": "#8b949e",
    "text": "#e8eaed",
    "soft": "#b3bac4",
    "link": "#7fb7ff",
    "good": "#6fd68b",
    "bad": "#ff8f87",
    "warn": "#f0c05a",
    "run": "#7fb7ff",
    "bar-text": "#14171c",
}


def _palette(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


_RULES: Final = """
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:72rem;padding:0 1rem 3rem;background:var(--back);color:var(--text);
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.25;margin:1rem 0 .25rem}
h2{font-size:1.25rem;margin:2.25rem 0 .75rem;border-bottom:2px solid var(--line)}
h3{font-size:1.05rem;margin:0 0 .35rem}
p{margin:.35rem 0}
a{color:var(--link)}
a:focus-visible,summary:focus-visible,[tabindex]:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.skip{position:absolute;left:-99rem}
.skip:focus{position:static}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;padding:0;margin:.75rem 0}
nav a{display:inline-block;padding:.35rem 0}
code,pre{font-family:ui-monospace,monospace;font-size:.875rem}
pre{background:var(--raised);padding:.6rem .75rem;margin:.35rem 0;white-space:pre-wrap;
border-left:3px solid var(--line)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.5rem;margin:1rem 0}
.facts div{background:var(--raised);padding:.5rem .75rem}
.facts dt{color:var(--soft);font-size:.875rem}
.facts dd{margin:0;font-size:1.2rem;font-weight:600}
.card{background:var(--raised);padding:.75rem 1rem;margin:.75rem 0;border-left:4px solid var(--line)}
.card.bad{border-color:var(--bad)}.card.good{border-color:var(--good)}
.card.warn{border-color:var(--warn)}.card.run{border-color:var(--run)}
.card pre{background:var(--back)}
.state{font-weight:600;white-space:nowrap}
.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}.run{color:var(--run)}.soft{color:var(--soft)}
.card,.lane{color:var(--text)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9375rem}
th{overflow-wrap:normal}td code{white-space:nowrap}
caption{text-align:left;color:var(--soft);padding:.25rem 0}
th,td{text-align:left;vertical-align:top;padding:.3rem .75rem .3rem 0;border-bottom:1px solid var(--line)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.lane{display:grid;grid-template-columns:minmax(8rem,14rem) 1fr;gap:.25rem 1rem;padding:.5rem 0;
border-bottom:1px solid var(--line)}
.lane p{margin:0;font-size:.9375rem}
.track{position:relative;height:1.75rem;background:var(--raised)}
.bar{position:absolute;top:.25rem;height:1.25rem;min-width:3px;background:var(--line)}
.bar.good{background:var(--good)}.bar.bad{background:var(--bad)}.bar.warn{background:var(--warn)}
.bar.run{background:var(--run)}
.tick{position:absolute;top:.25rem;width:1px;height:1.25rem;background:var(--back)}
.tick.bad{width:3px;top:0;height:1.75rem;background:var(--bad);outline:1px solid var(--back)}
.scale{display:flex;justify-content:space-between;color:var(--soft);font-size:.875rem}
.told{color:var(--soft)}
summary{cursor:pointer;padding:.35rem 0;color:var(--link)}
svg{display:block;max-width:none;height:auto}
svg text{fill:var(--text);font:14px system-ui,sans-serif}
svg .box{fill:var(--raised);stroke:var(--line);stroke-width:1.5}
svg .box.good{stroke:var(--good)}svg .box.bad{stroke:var(--bad)}
svg .box.warn{stroke:var(--warn)}svg .box.run{stroke:var(--run)}
svg .edge{fill:none;stroke:var(--line);stroke-width:1.5}
svg .tip{fill:var(--line)}
svg a:focus-visible .box{stroke:var(--link);stroke-width:4}
footer{margin-top:3rem;color:var(--soft);font-size:.875rem}
@media (max-width:40rem){.lane{grid-template-columns:1fr}h1{font-size:1.3rem}
.stack thead{position:absolute;left:-99rem}.stack tr{display:block;padding:.4rem 0;border-bottom:1px solid var(--line)}
.stack td,.stack th{display:block;border:0;padding:.1rem 0;text-align:left}
.stack td[data-name]::before{content:attr(data-name) ": ";color:var(--soft)}}
@media print{body{max-width:none;font-size:10pt}nav,.skip{display:none}
details::details-content{content-visibility:visible;display:block;height:auto}
.card,.lane,tr{break-inside:avoid}.bar,.tick,.track{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
STYLE: Final = (
    f":root{{{_palette(LIGHT)}}}@media screen and (prefers-color-scheme:dark){{:root{{{_palette(DARK)}}}}}{_RULES}"
)
"""The style sheet; nothing in it is fetched from anywhere."""
