/**
 * Pages that open offline, on a phone and on paper, light and dark, and are of use without a script.
 *
 * @module
 */

/** Escapes text for HTML and SVG, attributes included. */
export function escapeHtml(text: string): string {
  const entities: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return text.replace(/[&<>"']/g, (character) => entities[character]!);
}

const STYLE = `
:root{color-scheme:light dark;--back:#fff;--text:#1d2129;--soft:#667085;--rule:#d9dee7;--card:#f6f7f9;--line-1:#1f6feb;--line-2:#d9480f;--line-3:#2b8a3e}
@media(prefers-color-scheme:dark){:root{--back:#14171c;--text:#e6e9ee;--soft:#98a2b3;--rule:#333b47;--card:#1d2229;--line-1:#6ea8fe;--line-2:#ff922b;--line-3:#69db7c}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1.25rem;background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%}td,th{padding:.35rem .6rem;border-bottom:1px solid var(--rule);text-align:left;vertical-align:top}
td{overflow-wrap:anywhere}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td.n{white-space:nowrap}
figure{margin:1rem 0}figcaption{display:flex;flex-wrap:wrap;gap:.2rem 1rem}svg{width:100%;height:auto}
svg text{font:13px system-ui,sans-serif;fill:var(--soft)}.grid{stroke:var(--rule)}
@media(max-width:40rem){svg text{font-size:22px}.wide{font-size:.8rem}td.n,th.n{padding:.35rem .25rem}}
polyline{fill:none;stroke-width:2;vector-effect:non-scaling-stroke}.line-1{stroke:var(--line-1)}.line-2{stroke:var(--line-2)}.line-3{stroke:var(--line-3)}
.dot-1{fill:var(--line-1)}.dot-2{fill:var(--line-2)}.dot-3{fill:var(--line-3)}
figcaption i{display:inline-block;width:.9em;height:.25em;margin-right:.4em;vertical-align:middle}.key-1{background:var(--line-1)}.key-2{background:var(--line-2)}.key-3{background:var(--line-3)}
.samples{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1rem}
.samples article{background:var(--card);border-radius:.5rem;padding:.75rem;break-inside:avoid}.samples img{width:100%;height:auto;border-radius:.3rem}
dl{margin:.5rem 0 0}dt{color:var(--soft);font-size:.8rem}dd{margin:0 0 .3rem}`;

/** What a page has beside its body. */
export interface PageExtras {
  /** Styles after the house's. */
  readonly style?: string;
  /** What follows the body, such as a script that makes the page handier; it must be of use without. */
  readonly end?: string;
}

/** A page in the house style. The title is escaped; the body must be. Nothing is fetched. */
export function formatPage(title: string, body: string, { style = "", end = "" }: PageExtras = {}): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>${escapeHtml(title)}</title><style>${STYLE}${style}</style></head><body>
<main><h1>${escapeHtml(title)}</h1>
${body}</main>
${end}</body></html>
`;
}

/** Whether a text is a picture as a `data:` address: other addresses are not shown, for a page must open offline. */
export function isPicture(address: string): boolean {
  return /^data:image\/(png|jpeg|webp|gif|bmp);base64,[A-Za-z0-9+/=]*$/.test(address);
}
