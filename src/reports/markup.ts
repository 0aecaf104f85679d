import { html as escaped, raw } from 'hono/html';
import { visible } from '../visible-text.js';

/** Text that is markup already. Made by {@link html} and {@link jsonElement} alone, so that everything else is escaped. */
export type Markup = ReturnType<typeof raw>;

export type MarkupValue = Markup | string | number | readonly MarkupValue[];

export const nothing: Markup = raw('');

/**
 * The one way in which a page is written: a template in which every value is escaped for text and for attributes between quotes,
 * unless it is markup itself; what would not be seen (control characters, turns of the writing direction) is spelled out. Lists
 * are joined.
 */
export function html(parts: TemplateStringsArray, ...values: readonly MarkupValue[]): Markup {
  // The library gives a promise only where a value is one.
  return escaped(parts, ...values.map(shown)) as Markup;
}

function shown(value: MarkupValue): unknown {
  if (Array.isArray(value)) return value.map(shown);
  return typeof value === 'string' ? visible(value) : value;
}

/** Data for the script of the page. No text in it can end the element. */
export function jsonElement(id: string, value: unknown): Markup {
  const text = JSON.stringify(value, (_, part: unknown) => (typeof part === 'string' ? visible(part) : part));
  return html`<script type="application/json" id="${id}">${raw(text.replaceAll('<', '\\u003c'))}</script>`;
}

/** An element whose content the policy of the page knows by its hash. @param text of the project's own build, without an end of the element */
export function ownElement(name: 'script' | 'style', text: string): Markup {
  return raw(`<${name}>${text}</${name}>`);
}
