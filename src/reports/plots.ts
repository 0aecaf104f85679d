import { html, Markup } from './markup.js';

/** Plots as SVG, without scripts or fonts from elsewhere. */

export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** Okabe & Ito's palette: told apart by colour-blind readers too. */
export const palette = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#8c6d31', '#444444'];

/** Round numbers between low and high, a few more than `wanted` at most: 1, 2 or 5 times a power of ten apart. */
export function ticks(low: number, high: number, wanted = 5): number[] {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5].find((m) => m * power >= raw) ?? 10);
  // Numbers too near to each other, or too far apart, to have round ones between them in double precision.
  if (!(step > 0 && step < Number.POSITIVE_INFINITY)) return [low];
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.min(2 * wanted, Math.floor(high / step + 1e-9) - first + 1);
  return Array.from({ length: Math.max(0, count) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

const frame = { width: 640, height: 300, left: 56, right: 12, top: 12, bottom: 40 };

interface Axes {
  readonly x: (value: number) => number;
  readonly y: (value: number) => number;
  readonly marks: Markup;
}

/** Length along an axis of the frame; 0 where the range is a point, and not far outside of the frame whatever the value. */
function scaled(value: number, [low, high]: readonly [number, number], length: number): number {
  // Halves, since the difference of two finite numbers may be infinite.
  const share = (value / 2 - low / 2) / (high / 2 - low / 2);
  return Number.isNaN(share) ? 0 : Math.max(-1, Math.min(2, share)) * length;
}

function axes(
  xRange: readonly [number, number],
  yRange: readonly [number, number],
  xLabel: string,
  yLabel: string,
  xTicks = true,
): Axes {
  const { width, height, left, right, top, bottom } = frame;
  const x = (value: number) => left + scaled(value, xRange, width - left - right);
  const y = (value: number) => height - bottom - scaled(value, yRange, height - top - bottom);
  const rows = ticks(...yRange).map(
    (tick) =>
      html`<line class="grid" x1="${left}" x2="${width - right}" y1="${y(tick)}" y2="${y(tick)}"/><text x="${left - 6}" y="${y(tick) + 4}" text-anchor="end">${tick}</text>`,
  );
  const columns = (xTicks ? ticks(...xRange) : []).map(
    (tick) => html`<text x="${x(tick)}" y="${height - bottom + 16}" text-anchor="middle">${tick}</text>`,
  );
  const labels = html`<text x="${(left + width - right) / 2}" y="${height - 6}" text-anchor="middle">${xLabel}</text><text transform="translate(14 ${(top + height - bottom) / 2}) rotate(-90)" text-anchor="middle">${yLabel}</text>`;
  return { x, y, marks: html`${rows}${columns}${labels}` };
}

function svg(content: readonly Markup[], title: string): Markup {
  return html`<svg viewBox="0 0 ${frame.width} ${frame.height}" role="img" aria-label="${title}">${content}</svg>`;
}

/** Colours of a legend are classes, since the policy of the page allows no styles within elements. */
function legend(names: readonly string[]): Markup {
  const items = names.map((name, i) => html`<span><i class="color${i % palette.length}"></i>${name}</span>`);
  return html`<div class="legend">${items}</div>`;
}

/** Style of the classes that legends use. */
export const legendStyle = palette.map((color, i) => `.color${i}{background:${color}}`).join('');

/** Lines over a common x axis; nothing where there is no point. Points that are not finite are left out. */
export function linePlot(
  title: string,
  series: readonly Series[],
  xLabel: string,
  yLabel: string,
  options: { readonly yRange?: [number, number]; readonly marks?: boolean } = {},
): Markup {
  const finite = series.map(({ points }) => points.filter((point) => point.every(Number.isFinite)));
  const points = finite.flat();
  if (points.length === 0) return Markup.empty;
  const range = (values: number[]): [number, number] => [
    values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY),
    values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY),
  ];
  const xRange = range(points.map(([x]) => x));
  const yRange = options.yRange ?? range(points.map(([, y]) => y).concat(0));
  const { x, y, marks } = axes(xRange, yRange, xLabel, yLabel);
  const lines = finite.map((own, i) => {
    const color = palette[i % palette.length]!;
    const at = own.map(([a, b]) => [x(a).toFixed(1), y(b).toFixed(1)] as const);
    const path = at.map(([a, b], k) => `${k === 0 ? 'M' : 'L'}${a} ${b}`).join('');
    const dots = options.marks ? at.map(([a, b]) => html`<circle cx="${a}" cy="${b}" r="3" fill="${color}"/>`) : [];
    return html`<path d="${path}" fill="none" stroke="${color}" stroke-width="1.6"/>${dots}`;
  });
  return html`<figure><figcaption>${title}</figcaption>${svg([marks, ...lines], title)}${legend(series.map((s) => s.name))}</figure>`;
}

/** Width of a character of the plots' text, about. */
const characterWidth = 6;

/** A name under its column, broken at hyphens and spaces into two lines at the most; what does not fit is left to the tooltip. */
export function columnLabel(name: string, characters: number): string[] {
  const lines: string[] = [];
  for (const word of name.split(/(?<=[-\s])/)) {
    const last = lines.at(-1);
    if (last !== undefined && (last + word).trim().length <= characters) lines[lines.length - 1] = last + word;
    else lines.push(word);
  }
  const fitted = lines.slice(0, 2).map((line) => line.trim());
  return fitted.map((line, i) => {
    const more = i === 1 && lines.length > 2;
    return line.length > characters || more ? `${line.slice(0, Math.max(1, characters - 1))}…` : line;
  });
}

/** Every value as a dot, per group, with its median as a bar; nothing where there is no value. Values are finite. */
export function stripPlot(
  title: string,
  groups: readonly { readonly name: string; readonly values: readonly number[] }[],
  yLabel: string,
  yRange?: [number, number],
): Markup {
  const all = groups.flatMap((group) => group.values);
  if (all.length === 0) return Markup.empty;
  const high = all.reduce((a, b) => Math.max(a, b), 0);
  const { x, y, marks } = axes([0, groups.length], yRange ?? [0, high || 1], '', yLabel, false);
  const columns = groups.map((group, i) => {
    const color = palette[i % palette.length]!;
    const sorted = [...group.values].sort((a, b) => a - b);
    const middle = (sorted.length - 1) / 2;
    const median = sorted.length > 0 ? (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2 : undefined;
    const dots = group.values.map((value, k) => {
      // A fixed spread by index (golden ratio) keeps equal values apart and the picture the same each time.
      const offset = ((k * 0.618034) % 1) - 0.5;
      return html`<circle cx="${x(i + 0.5 + 0.5 * offset).toFixed(1)}" cy="${y(value).toFixed(1)}" r="3.2" fill="${color}" fill-opacity="0.55"/>`;
    });
    const bar =
      median === undefined
        ? Markup.empty
        : html`<line x1="${x(i + 0.2)}" x2="${x(i + 0.8)}" y1="${y(median)}" y2="${y(median)}" stroke="${color}" stroke-width="2.5"/>`;
    const lines = columnLabel(group.name, Math.floor((x(1) - x(0)) / characterWidth)).map(
      (line, k) => html`<tspan x="${x(i + 0.5)}" dy="${k === 0 ? 0 : 13}">${line}</tspan>`,
    );
    const label = html`<text y="${frame.height - frame.bottom + 16}" text-anchor="middle"><title>${group.name}</title>${lines}</text>`;
    return html`${dots}${bar}${label}`;
  });
  return html`<figure><figcaption>${title}</figcaption>${svg([marks, ...columns], title)}</figure>`;
}
