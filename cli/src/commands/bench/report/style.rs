//! How the page looks: light and dark as the reader's system is, narrow and wide, on paper.

/// The style of the page.
pub(super) const STYLE: &str = "
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2024;--soft:#5b6570;--rule:#d6dbe0;--own:#0b6bcb;--peer:#8a939c;--floor:#2f7d4f;
--c0:#0b6bcb;--c1:#b3530b;--c2:#2f7d4f;--c3:#8a3ffc;--c4:#b0204b;--c5:#5b6570}
@media (prefers-color-scheme:dark){:root{--paper:#15181b;--ink:#e6e9ec;--soft:#a3adb7;--rule:#3a4148;--own:#5aa9f5;--peer:#858e97;--floor:#62c08a;
--c0:#5aa9f5;--c1:#f0a15c;--c2:#62c08a;--c3:#be95ff;--c4:#ff7eb0;--c5:#a3adb7}}
body{margin:0 auto;padding:1.5rem;max-width:62rem;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0 0 .3rem}h2{font-size:1.25rem;margin:2.2rem 0 .3rem;border-top:1px solid var(--rule);padding-top:1rem}
h3{font-size:1rem;margin:1.2rem 0 .2rem}p{margin:.3rem 0}.soft{color:var(--soft)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.86rem;margin:.6rem 0;white-space:nowrap}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--rule);text-align:left}.number{text-align:right;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft)}a{color:var(--own)}figure{margin:.4rem 0}
svg{display:block;width:100%;max-width:760px;height:auto;font:12.5px system-ui,sans-serif}
svg text{fill:var(--ink)}svg .name{text-anchor:end}svg .middle{text-anchor:middle}svg .small{font-size:11px;fill:var(--soft)}
.own{fill:var(--own)}.peer{fill:var(--peer)}.floor{fill:var(--floor)}
.range,.guide,.axis{fill:none;stroke:var(--ink);stroke-width:1.2}.guide{stroke-dasharray:4 3}.axis{stroke:var(--soft)}
.line{fill:none;stroke-width:2}
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--c4)}.c5{stroke:var(--c5)}
circle.c0{fill:var(--c0)}circle.c1{fill:var(--c1)}circle.c2{fill:var(--c2)}circle.c3{fill:var(--c3)}circle.c4{fill:var(--c4)}circle.c5{fill:var(--c5)}
@media print{body{max-width:none}h2{break-after:avoid}figure,table{break-inside:avoid}}
";
