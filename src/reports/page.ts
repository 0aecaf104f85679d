import { html, jsonElement, type Markup, nothing, ownElement } from './markup.js';
import type { PageData } from './page-data.js';
import type { FactTable } from './run-facts.js';

/** What `report/build.mjs` makes, and base64 SHA-256 hashes by which the policy of a page allows it. */
export interface PageAssets {
  readonly script: string;
  readonly style: string;
  readonly scriptHash: string;
  /** Of the style, and of the style that the library of the plots adds to each. */
  readonly styleHashes: readonly string[];
}

export interface PageSection {
  /** Its anchor. */
  readonly id: string;
  readonly heading: string;
  readonly content: Markup;
}

export interface Page {
  readonly title: string;
  /** One line below the title. */
  readonly lead?: Markup;
  readonly facts: readonly FactTable[];
  readonly sections: readonly PageSection[];
  readonly data: PageData;
  /** Elements with the slices that `data` names. */
  readonly slices: readonly Markup[];
}

/** What a page may do: run its own script, show itself and the pictures in it. Nothing else runs, and nothing is asked for elsewhere. */
function policy({ scriptHash, styleHashes }: PageAssets): string {
  const styles = styleHashes.map((hash) => `'sha256-${hash}'`).join(' ');
  return `default-src 'none'; script-src 'sha256-${scriptHash}'; style-src ${styles}; img-src data:; base-uri 'none'; form-action 'none'`;
}

/** One HTML page that needs nothing else. */
export function renderPage({ title, lead = nothing, facts, sections, data, slices }: Page, assets: PageAssets): string {
  const shown = sections.filter(({ content }) => content.length > 0);
  const links = shown.map(({ id, heading }) => html`<a href="#${id}">${heading}</a>`);
  return String(html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${policy(assets)}"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>${ownElement('style', assets.style)}</head>
<body><a class="skip" href="#main">Skip to the report</a><header><h1>${title}</h1>${lead}
<nav aria-label="Sections">${links}</nav></header><main id="main">
<p class="notice" id="no-script">This page shows tables and pictures alone: plots, sorting and slices of cases need its script, which is not run here.</p>
<div class="facts">${facts.map(factTable)}</div>
${shown.map(({ id, heading, content }) => html`<section id="${id}" aria-labelledby="${id}-heading"><h2 id="${id}-heading">${heading}</h2>${content}</section>\n`)}</main>
${jsonElement('page-data', data)}
${slices.map((element) => html`${element}\n`)}${ownElement('script', assets.script)}</body></html>
`);
}

function factTable({ title, rows }: FactTable): Markup {
  if (rows.length === 0) return nothing;
  const lines = rows.map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${value}</td></tr>`);
  return html`<table><caption>${title}</caption><tbody>${lines}</tbody></table>`;
}

/** Where the script puts plots and their controls. */
export function plotPlace(name: string): Markup {
  return html`<div class="plots" data-plots="${name}"></div>`;
}

/** A table of which the first column names what the row is of. @param caption for who does not see the heading above */
export function table(
  caption: string,
  headings: readonly string[],
  rows: readonly { readonly heading: string | Markup; readonly cells: readonly Markup[]; readonly total?: boolean }[],
): Markup {
  const head = headings.map((text) => html`<th scope="col">${text}</th>`);
  const lines = rows.map(({ heading, cells, total }) => {
    const first = html`<th scope="row">${heading}</th>${cells}`;
    return total === true ? html`<tr class="total">${first}</tr>` : html`<tr>${first}</tr>`;
  });
  return html`<div class="wide"><table><caption class="unseen">${caption}</caption><thead><tr>${head}</tr></thead><tbody>${lines}</tbody></table></div>`;
}

export function cell(value: string | Markup, best = false): Markup {
  return best ? html`<td class="best">${value}</td>` : html`<td>${value}</td>`;
}

export function number(value: number | null | undefined, digits: number): string {
  return typeof value === 'number' ? value.toFixed(digits) : '–';
}

export function signed(value: number, digits = 3): string {
  return `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(digits)}`;
}

/** A value with the interval in which it lies. */
export function withInterval({ mean, low, high }: { mean: number; low: number; high: number }): Markup {
  return html`${signed(mean)} <small class="interval">[${signed(low)}, ${signed(high)}]</small>`;
}
