import { visible } from '../visible-text.js';

/** Text that is markup already. Made by {@link html} alone, so that everything else is escaped. */
export class Markup {
  private constructor(readonly text: string) {}

  static readonly empty = new Markup('');

  /** @param parts of a template, and what stands between them */
  static of(parts: readonly string[], values: readonly MarkupValue[]): Markup {
    return new Markup(parts.map((part, i) => (i === 0 ? part : written(values[i - 1]!) + part)).join(''));
  }
}

export type MarkupValue = Markup | string | number | readonly MarkupValue[];

function written(value: MarkupValue): string {
  if (value instanceof Markup) return value.text;
  return Array.isArray(value) ? value.map(written).join('') : escaped(String(value));
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escaped(text: string): string {
  return visible(text).replace(/[&<>"']/g, (letter) => entities[letter]!);
}

/**
 * The one way in which a page and its pictures are written: a template in which every value is escaped for text and for attributes
 * between quotes, unless it is markup itself. Lists are joined.
 */
export function html(parts: TemplateStringsArray, ...values: readonly MarkupValue[]): Markup {
  return Markup.of(parts, values);
}
