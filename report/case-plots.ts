/** Plots of cases: boxes with points, differences of pairs, agreement of volumes. A click on a point opens its case. */
import * as Plot from '@observablehq/plot';
import { element } from '../app/dom.js';
import type { PageAgreement, PagePairs } from '../src/reports/page-data.js';
import { type CaseChoice, choice, data, labelled, plotPlaces } from './page.js';
import { colorOf } from './theme.js';

/** A point of a plot. */
interface Point extends CaseChoice {
  readonly x: number;
  /** The row in which it stands, or its height. */
  readonly row: string;
  readonly y: number;
  /** What the tip says. */
  readonly title: string;
  readonly color: string;
}

type Show = (choice: CaseChoice) => void;

const rowHeight = 46;
/** Pixels of CSS between the margins of A4. */
const paperWidth = 680;
const characterWidth = 6.2;

export function drawCasePlots(show: Show): void {
  for (const place of plotPlaces('distribution')) place.append(distribution(show));
  for (const place of plotPlaces('pairs')) for (const pair of data.pairs) place.append(differences(pair, show));
  for (const place of plotPlaces('volumes')) if (data.agreement.length > 0) place.append(agreement(show));
}

/** A figure that is drawn anew for the width it has. */
function figure(
  caption: string,
  tools: readonly HTMLElement[],
  draw: (width: number) => SVGElement | HTMLElement,
  show: Show,
): { readonly figure: HTMLElement; redraw(): void } {
  const place = element('div', { className: 'drawn' });
  let width = 0;
  const redraw = () => {
    if (width === 0) return;
    const plot = draw(width) as (SVGElement | HTMLElement) & { value?: Point | null };
    plot.addEventListener('click', () => {
      if (plot.value != null) show(plot.value);
    });
    place.replaceChildren(plot);
  };
  new ResizeObserver(([entry]) => {
    const now = Math.floor(entry!.contentRect.width);
    if (now === width) return;
    width = now;
    redraw();
  }).observe(place);
  // Drawn for the screen and made smaller, letters could not be read on paper.
  let onScreen = 0;
  addEventListener('beforeprint', () => {
    onScreen = width;
    width = Math.min(width, paperWidth);
    redraw();
  });
  addEventListener('afterprint', () => {
    width = onScreen;
    redraw();
  });
  const bar = tools.length === 0 ? [] : [element('div', { className: 'tools' }, ...tools)];
  return {
    figure: element('figure', { className: 'case-plot' }, element('figcaption', {}, caption), ...bar, place),
    redraw,
  };
}

function shortened(name: string): string {
  return name.length > 34 ? `${name.slice(0, 33)}…` : name;
}

/** Room for the names of rows. */
function marginFor(rows: readonly string[]): number {
  return 24 + characterWidth * rows.reduce((most, row) => Math.max(most, shortened(row).length), 0);
}

/** Rows with boxes or intervals, and every case as a point. */
function rowsPlot(
  points: readonly Point[],
  marks: readonly Plot.Markish[],
  {
    width,
    label,
    domain,
    description,
  }: { width: number; label: string; domain?: [number, number]; description: string },
) {
  const rows = [...new Set(points.map(({ row }) => row))];
  return Plot.plot({
    className: 'plot',
    width,
    height: rows.length * rowHeight + 52,
    marginLeft: marginFor(rows),
    marginRight: 16,
    marginBottom: 40,
    ariaLabel: description,
    x: { label, grid: true, nice: true, ...(domain === undefined ? {} : { domain }) },
    fy: { label: null, domain: rows, axis: 'left', tickFormat: shortened },
    marks: [
      ...marks,
      Plot.dot(
        points,
        Plot.dodgeY({
          ...{ anchor: 'middle', x: 'x', fy: 'row', r: 3, padding: 0.5, title: 'title', tip: true },
          ...{ fill: (point: Point) => point.color, fillOpacity: 0.75 },
        } as const),
      ),
    ],
  });
}

function distribution(show: Show): HTMLElement {
  let metric = 0;
  const several = data.runs.length > 1;
  const made = figure(
    'Every case',
    [
      labelled(
        'Metric',
        choice(
          data.metrics.map(({ heading }) => heading),
          (index) => {
            metric = index;
            made.redraw();
          },
        ),
      ),
    ],
    (width) => {
      const { heading, digits, share } = data.metrics[metric]!;
      const tasks = [...new Set(data.runs.flatMap(({ cases }) => cases.map(({ task }) => task)))];
      const points = tasks.flatMap((name) =>
        data.runs.flatMap((run, index) =>
          run.cases.flatMap(({ dataset, id, task, values }): Point[] => {
            const value = values[metric];
            if (task !== name || typeof value !== 'number') return [];
            const row = several ? `${task}, ${run.name}` : task;
            const title = `${id}\n${row}\n${heading} ${value.toFixed(digits)}`;
            return [{ run: index, dataset, id, task, x: value, y: 0, row, title, color: colorOf(several ? index : 0) }];
          }),
        ),
      );
      const boxes = Plot.boxX(points, { x: 'x', fy: 'row', r: 0, fillOpacity: 0.25, strokeOpacity: 0.8 });
      // All of the axis that a share has would leave little room for the cases of a good network.
      const low = Math.max(0, Math.floor(10 * Math.min(...points.map(({ x }) => x)) - 0.5) / 10);
      return rowsPlot(points, [boxes], {
        ...{
          width,
          label: heading,
          description: `${heading} of every case, as boxes and points; the table of all cases has the numbers`,
        },
        ...(share && points.length > 0 ? { domain: [low, 1] } : {}),
      });
    },
    show,
  );
  return made.figure;
}

function differences({ run, reference, tasks }: (typeof data.pairs)[number], show: Show): HTMLElement {
  const index = Math.max(
    0,
    data.runs.findIndex(({ name }) => name === run),
  );
  const points = tasks.flatMap(({ task, cases }) =>
    cases.map(({ dataset, id, difference }): Point => {
      const title = `${id}\n${task}\n${difference < 0 ? '−' : '+'}${Math.abs(difference).toFixed(3)} Dice`;
      const color = difference < 0 ? colorOf(1) : colorOf(2);
      return { run: index, dataset, id, task, x: difference, y: 0, row: task, title, color };
    }),
  );
  const caption = `Dice of ${run} less that of ${reference}: cases, mean and 95 % interval`;
  const made = figure(
    caption,
    [],
    (width) =>
      rowsPlot(
        points,
        [
          Plot.ruleX([0], { stroke: 'currentColor' }),
          Plot.barX(tasks, { x1: 'low', x2: 'high', fy: 'task', fill: 'currentColor', fillOpacity: 0.14, inset: 4 }),
          Plot.tickX(tasks, { x: (one: PagePairs) => one.mean, fy: 'task', stroke: 'currentColor', strokeWidth: 2.5 }),
        ],
        { width, label: 'difference of Dice', description: `${caption}; the table above has the numbers` },
      ),
    show,
  );
  return made.figure;
}

function agreement(show: Show): HTMLElement {
  let chosen = 0;
  const nameOf = ({ run, task }: PageAgreement) => (data.runs.length > 1 ? `${task}, ${data.runs[run]!.name}` : task);
  const made = figure(
    'Difference of volumes over their mean',
    [
      labelled(
        'Task',
        choice(data.agreement.map(nameOf), (index) => {
          chosen = index;
          made.redraw();
        }),
      ),
    ],
    (width) => {
      const { run, task, biasMl, lowMl, highMl } = data.agreement[chosen]!;
      const points = data.runs[run]!.cases.flatMap((row): Point[] => {
        if (row.task !== task || row.volumesMl === null) return [];
        const [prediction, reference] = row.volumesMl;
        const title = `${row.id}\nprediction ${prediction.toFixed(2)} ml\nreference ${reference.toFixed(2)} ml`;
        const { dataset, id } = row;
        const place = { x: (prediction + reference) / 2, y: prediction - reference };
        return [{ run, dataset, id, task, ...place, row: task, title, color: colorOf(0) }];
      });
      const lines = [
        { y: highMl, text: `upper limit ${highMl.toFixed(2)}` },
        { y: biasMl, text: `bias ${biasMl.toFixed(2)}` },
        { y: lowMl, text: `lower limit ${lowMl.toFixed(2)}` },
      ];
      return Plot.plot({
        className: 'plot',
        width,
        height: 320,
        marginLeft: 56,
        marginRight: 120,
        marginBottom: 40,
        ariaLabel: `Bland-Altman plot of the volumes of ${nameOf(data.agreement[chosen]!)}; the table above has the numbers`,
        x: { label: 'mean of both volumes (ml)', nice: true },
        y: { label: 'prediction less reference (ml)', nice: true, grid: true },
        marks: [
          Plot.ruleY([0], { stroke: 'currentColor', strokeOpacity: 0.4 }),
          Plot.ruleY(lines, { y: 'y', stroke: colorOf(1), strokeDasharray: '6 4' }),
          Plot.text(lines, {
            y: 'y',
            text: 'text',
            frameAnchor: 'right',
            textAnchor: 'start',
            dx: 6,
            fill: 'currentColor',
          }),
          Plot.dot(points, {
            x: 'x',
            y: 'y',
            r: 3.5,
            fill: (point: Point) => point.color,
            fillOpacity: 0.75,
            title: 'title',
            tip: true,
          }),
        ],
      });
    },
    show,
  );
  return made.figure;
}
