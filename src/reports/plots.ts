/** Plots as SVG text, without scripts or fonts from elsewhere. */

export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** Okabe & Ito's palette: told apart by colour-blind readers too. */
export const palette = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#8c6d31', '#444444'];

export function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

/** Round numbers between low and high: 1, 2 or 5 times a power of ten apart. */
export function ticks(low: number, high: number, wanted = 5): number[] {
  const raw = (high - low) / wanted;
  if (!(raw > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5].find((m) => m * power >= raw) ?? 10);
  const result: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++)
    result.push(Number((i * step).toPrecision(12)));
  return result;
}

const frame = { width: 640, height: 300, left: 56, right: 12, top: 12, bottom: 40 };

interface Axes {
  readonly x: (value: number) => number;
  readonly y: (value: number) => number;
  readonly svg: string;
}

function axes(xRange: [number, number], yRange: [number, number], xLabel: string, yLabel: string, xTicks = true): Axes {
  const { width, height, left, right, top, bottom } = frame;
  const x = (value: number) => left + ((value - xRange[0]) / (xRange[1] - xRange[0] || 1)) * (width - left - right);
  const y = (value: number) =>
    height - bottom - ((value - yRange[0]) / (yRange[1] - yRange[0] || 1)) * (height - top - bottom);
  const parts: string[] = [];
  for (const tick of ticks(...yRange)) {
    parts.push(`<line class="grid" x1="${left}" x2="${width - right}" y1="${y(tick)}" y2="${y(tick)}"/>`);
    parts.push(`<text x="${left - 6}" y="${y(tick) + 4}" text-anchor="end">${tick}</text>`);
  }
  if (xTicks) {
    for (const tick of ticks(...xRange)) {
      parts.push(`<text x="${x(tick)}" y="${height - bottom + 16}" text-anchor="middle">${tick}</text>`);
    }
  }
  parts.push(
    `<text x="${(left + width - right) / 2}" y="${height - 6}" text-anchor="middle">${escapeXml(xLabel)}</text>`,
  );
  parts.push(
    `<text transform="translate(14 ${(top + height - bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeXml(yLabel)}</text>`,
  );
  return { x, y, svg: parts.join('') };
}

function svg(content: string, title: string): string {
  return `<svg viewBox="0 0 ${frame.width} ${frame.height}" role="img" aria-label="${escapeXml(title)}">${content}</svg>`;
}

function legend(names: readonly string[]): string {
  const items = names.map((name, i) => {
    const color = palette[i % palette.length];
    const style = i < palette.length ? `background:${color}` : `box-sizing:border-box;border:2px solid ${color}`;
    return `<span><i style="${style}"></i>${escapeXml(name)}</span>`;
  });
  return `<div class="legend">${items.join('')}</div>`;
}

/** Lines over a common x axis; where there are more of them than colours, the others are dashed, and hollow in the legend. */
export function linePlot(
  title: string,
  series: readonly Series[],
  xLabel: string,
  yLabel: string,
  options: { readonly yRange?: [number, number]; readonly marks?: boolean } = {},
): string {
  const points = series.flatMap((one) => one.points).filter(([, y]) => Number.isFinite(y));
  if (points.length === 0) return '';
  const range = (values: number[]): [number, number] => [
    values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY),
    values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY),
  ];
  const xRange = range(points.map(([x]) => x));
  const yRange = options.yRange ?? range(points.map(([, y]) => y).concat(0));
  const { x, y, svg: background } = axes(xRange, yRange, xLabel, yLabel);
  const lines = series.map((one, i) => {
    const color = palette[i % palette.length];
    const finite = one.points.filter(([, value]) => Number.isFinite(value));
    const at = finite.map(([a, b]) => [x(a).toFixed(1), y(b).toFixed(1)] as const);
    const path = at.map(([a, b], k) => `${k === 0 ? 'M' : 'L'}${a} ${b}`).join('');
    const dots = options.marks
      ? at.map(([a, b]) => `<circle cx="${a}" cy="${b}" r="3" fill="${color}"/>`).join('')
      : '';
    return `<path d="${path}" fill="none" stroke="${color}" stroke-width="1.6"${i < palette.length ? '' : ' stroke-dasharray="5 3"'}/>${dots}`;
  });
  return `<figure><figcaption>${escapeXml(title)}</figcaption>${svg(background + lines.join(''), title)}${legend(series.map((s) => s.name))}</figure>`;
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

/** Every value as a dot, per group, with its median as a bar. */
export function stripPlot(
  title: string,
  groups: readonly { readonly name: string; readonly values: readonly number[] }[],
  yLabel: string,
  yRange?: [number, number],
): string {
  const all = groups.flatMap((group) => group.values);
  if (all.length === 0) return '';
  const high = all.reduce((a, b) => Math.max(a, b), 0);
  const { x, y, svg: background } = axes([0, groups.length], yRange ?? [0, high || 1], '', yLabel, false);
  const parts = groups.map((group, i) => {
    const color = palette[i % palette.length];
    const sorted = [...group.values].sort((a, b) => a - b);
    const middle = (sorted.length - 1) / 2;
    const median = sorted.length > 0 ? (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2 : undefined;
    const dots = group.values.map((value, k) => {
      // A fixed spread by index (golden ratio) keeps equal values apart and the picture the same each time.
      const offset = ((k * 0.618034) % 1) - 0.5;
      return `<circle cx="${x(i + 0.5 + 0.5 * offset).toFixed(1)}" cy="${y(value).toFixed(1)}" r="3.2" fill="${color}" fill-opacity="0.55"/>`;
    });
    const bar =
      median === undefined
        ? ''
        : `<line x1="${x(i + 0.2)}" x2="${x(i + 0.8)}" y1="${y(median)}" y2="${y(median)}" stroke="${color}" stroke-width="2.5"/>`;
    const lines = columnLabel(group.name, Math.floor((x(1) - x(0)) / characterWidth)).map(
      (line, k) => `<tspan x="${x(i + 0.5)}" dy="${k === 0 ? 0 : 13}">${escapeXml(line)}</tspan>`,
    );
    const label = `<text y="${frame.height - frame.bottom + 16}" text-anchor="middle"><title>${escapeXml(group.name)}</title>${lines.join('')}</text>`;
    return dots.join('') + bar + label;
  });
  return `<figure><figcaption>${escapeXml(title)}</figcaption>${svg(background + parts.join(''), title)}</figure>`;
}
