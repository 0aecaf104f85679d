/** Learning curves: values under the pointer, zoom, smoothing, and each curve on or off. */
import uPlot from 'uplot';
import { element } from '../app/dom.js';
import type { PageCurves } from '../src/reports/page-data.js';
import { data, labelled, plotPlaces } from './page.js';
import { colorOf, colors, onColors } from './theme.js';

/** Curves that are on at first: more of them cover each other. */
const firstShown = 12;
const height = 260;

export function drawCurves(): void {
  for (const place of plotPlaces('curves')) for (const curves of data.curves) place.append(curvesFigure(curves));
}

/**
 * Exponential moving average, divided by the weight of the values that went into it, so that it does not begin at 0.
 * @param weight of what was before, 0 to 1 exclusive
 */
function smoothed(values: readonly (number | null)[], weight: number): (number | null)[] {
  let [sum, total] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return sum / total;
  });
}

function curvesFigure(curves: PageCurves): HTMLElement {
  const { title, xLabel, yLabel, share, marks, x, series } = curves;
  const place = element('div', { className: 'canvas', tabIndex: 0 });
  place.setAttribute('role', 'group');
  place.setAttribute('aria-label', described(curves));
  const at = element('output', { className: 'at' });
  const values = series.map(() => element('output'));

  const line = (i: number, faint: boolean): uPlot.Series => ({
    label: series[i]!.name,
    stroke: colorOf(i),
    width: faint ? 1 : 1.8,
    alpha: faint ? 0.25 : 1,
    spanGaps: true,
    show: i < firstShown,
    ...(i < 8 ? {} : { dash: [6, 4] }),
    points: { show: marks && !faint, size: 6 },
  });
  // Every curve is drawn twice: as it is, faintly, and smoothed; without smoothing both are the same.
  const plotData = (weight: number): uPlot.AlignedData => [
    [...x],
    ...series.map(({ y }) => [...y]),
    ...series.map(({ y }) => smoothed(y, weight)),
  ];
  const axis = (label: string): uPlot.Axis => ({
    label,
    labelSize: 22,
    stroke: () => colors().text,
    grid: { stroke: () => colors().line, width: 1 },
    ticks: { stroke: () => colors().line, width: 1 },
  });
  const plot = new uPlot(
    {
      width: 520,
      height,
      legend: { show: false },
      cursor: { drag: { x: true, y: false }, points: { size: 7 } },
      scales: { x: { time: false }, y: share ? { range: [0, 1] } : {} },
      axes: [axis(xLabel), { ...axis(yLabel), size: 56 }],
      series: [{}, ...series.map((_, i) => line(i, true)), ...series.map((_, i) => line(i, false))],
      hooks: {
        setCursor: [
          ({ cursor: { idx } }) => {
            const known = typeof idx === 'number';
            at.value = known ? `${xLabel} ${Number(x[idx]!.toPrecision(4))}` : '';
            for (const [i, value] of values.entries()) {
              const y = known ? nearest(plot.data[1 + series.length + i]!, idx) : null;
              value.value = y === null ? '' : y.toPrecision(3);
            }
          },
        ],
      },
    },
    plotData(0),
    place,
  );
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry!.contentRect.width);
    if (width > 0 && width !== plot.width) plot.setSize({ width, height });
  }).observe(place);
  onColors(() => plot.redraw(false, false));

  const legend = element('fieldset', { className: 'legend' }, element('legend', {}, 'Curves'));
  for (const [i, { name }] of series.entries()) {
    const box = element('input', { type: 'checkbox', checked: i < firstShown });
    box.addEventListener('change', () => {
      for (const index of [1 + i, 1 + series.length + i]) plot.setSeries(index, { show: box.checked });
    });
    const key = element('span', { className: i < 8 ? 'swatch' : 'swatch hollow' });
    key.style.color = colorOf(i);
    legend.append(element('label', {}, box, key, `${name} `, values[i]!));
  }
  const tools = element('div', { className: 'tools' });
  if (!marks) {
    const smoothing = element('input', { type: 'range', min: '0', max: '0.99', step: '0.01', value: '0' });
    const weight = element('output', {}, '0');
    smoothing.addEventListener('input', () => {
      weight.value = smoothing.value;
      // The part that is zoomed into stays.
      const { min, max } = plot.scales.x!;
      plot.batch(() => {
        plot.setData(plotData(Number(smoothing.value)), true);
        plot.setScale('x', { min: min!, max: max! });
      });
    });
    const label = labelled('Smoothing', smoothing);
    label.append(' ', weight);
    tools.append(label);
  }
  const zoom = zooming(plot, x);
  const buttons = [
    ['+', 'Zoom in', zoom.in],
    ['−', 'Zoom out', zoom.out],
    ['◀', 'Earlier', zoom.earlier],
    ['▶', 'Later', zoom.later],
    ['Whole', 'Whole curve', zoom.whole],
  ] as const;
  for (const [text, name, act] of buttons) {
    const button = element('button', { type: 'button', title: name }, text);
    button.setAttribute('aria-label', `${name}: ${title}`);
    button.addEventListener('click', act);
    tools.append(button);
  }
  tools.append(at);
  place.addEventListener('keydown', (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move !== undefined) {
      const idx = Math.max(0, Math.min(x.length - 1, (plot.cursor.idx ?? 0) + move));
      plot.setCursor({ left: plot.valToPos(x[idx]!, 'x'), top: height / 3 });
    } else if (event.key === '+' || event.key === '=') zoom.in();
    else if (event.key === '-') zoom.out();
    else if (event.key === 'Home') zoom.whole();
    else return;
    event.preventDefault();
  });
  return element('figure', { className: 'curves' }, element('figcaption', {}, title), tools, place, legend);
}

/** The value at a place, or the nearest one before it: curves have their points at different places. */
function nearest(values: ArrayLike<number | null | undefined>, idx: number): number | null {
  for (let i = idx; i >= 0; i--) {
    const value = values[i];
    if (typeof value === 'number') return value;
  }
  return null;
}

function zooming(plot: uPlot, x: readonly number[]) {
  const [first, last] = [x[0]!, x.at(-1)!];
  const show = (low: number, high: number): void => {
    const length = Math.min(last - first, high - low);
    const min = Math.max(first, Math.min(low, last - length));
    if (length > 0) plot.setScale('x', { min, max: min + length });
  };
  const part = () => ({ min: plot.scales.x!.min!, max: plot.scales.x!.max! });
  const scaled = (factor: number) => () => {
    const { min, max } = part();
    const { idx } = plot.cursor;
    const center = typeof idx === 'number' ? x[idx]! : (min + max) / 2;
    show(center - (center - min) * factor, center + (max - center) * factor);
  };
  const moved = (share: number) => () => {
    const { min, max } = part();
    show(min + share * (max - min), max + share * (max - min));
  };
  return { in: scaled(0.5), out: scaled(2), earlier: moved(-0.4), later: moved(0.4), whole: () => show(first, last) };
}

/** What the picture shows, in words. */
function described({ title, xLabel, x, series }: PageCurves): string {
  const ends = series.map(({ name, y }) => {
    const known = y.filter((value) => value !== null);
    return known.length === 0
      ? `${name}: no value`
      : `${name} from ${known[0]!.toPrecision(3)} to ${known.at(-1)!.toPrecision(3)}`;
  });
  return `${title}, over ${xLabel} ${x[0]} to ${x.at(-1)}: ${ends.join('; ')}. Arrow keys move through the values, plus and minus zoom, Home shows the whole curve.`;
}
