import { html, type Markup } from './markup.js';
import { legendStyle } from './plots.js';

/** SHA-256 of the style, in base64: the policy of the page allows this style alone. A test says what it has to be. */
export const styleHash = '3I2daEquXZsBRYsWXhT9rIW5gszDhXdY41foP3whn1k=';

const style = `
:root{color-scheme:light dark;--ink:#1c2430;--muted:#5b6675;--line:#dde2e8;--soft:#f5f7f9;--paper:#fff;--best:#0a7a4b}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--muted:#9aa6b5;--line:#2f3844;--soft:#1c232c;--paper:#141a21;--best:#4fd09b}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:26px;margin:0 0 4px}h1,h2,h3,p,figcaption,.facts td,.legend span{overflow-wrap:anywhere}h2{font-size:20px;margin:40px 0 8px;border-bottom:1px solid var(--line);padding-bottom:4px}
h3{font-size:16px;margin:24px 0 8px}.lead,.note{color:var(--muted);margin:4px 0 12px}.note{font-size:13px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:5px 12px 5px 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,.text{text-align:left}thead th{color:var(--muted);font-weight:600;font-size:13px}tbody th{font-weight:500}
td small{color:var(--muted)}.best{color:var(--best);font-weight:700}.total th,.total td{font-weight:700;border-bottom:0}
.wrap{white-space:normal;max-width:260px;color:var(--muted);font-size:13px;vertical-align:top}.facts th{color:var(--muted);font-weight:500;padding-right:24px}.facts td{text-align:left;white-space:normal}
.wide{overflow-x:auto}.pair{display:grid;grid-template-columns:repeat(auto-fill,minmax(420px,1fr));gap:16px}
figure{margin:8px 0}figcaption{color:var(--muted);font-size:13px;margin:2px 0}
svg{width:100%;height:auto;background:var(--soft);border-radius:6px}svg text{fill:var(--muted);font-size:11px}.grid{stroke:var(--line)}
.legend{display:flex;flex-wrap:wrap;gap:4px 14px;font-size:12px;color:var(--muted)}.legend i,.key{display:inline-block;width:10px;height:10px;border-radius:2px;margin:0 5px 0 8px}
.key.reference{background:rgb(0,200,120)}.key.prediction{background:rgb(255,120,0)}
.overlay img{max-width:100%;border-radius:4px;background:#000;display:block}
details summary{cursor:pointer;color:var(--muted);font-size:13px;margin:8px 0}
${legendStyle}
`;

export const styleElement: Markup = html`<style>${style}</style>`;
