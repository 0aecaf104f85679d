import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { VersemiError } from '../errors.js';
import { runFiles } from '../training/run-folder.js';
import type { PageCurves } from './page-data.js';
import { type LoggedEvent, readEvents } from './report-inputs.js';

/** Values of one name over steps, or over the share of a run. */
export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** What metrics.jsonl says of a run. */
export interface TrainingLog {
  /** Last folder of the run. */
  readonly name: string;
  readonly events: readonly LoggedEvent[];
  readonly losses: readonly Series[];
  readonly validation: readonly Series[];
  /** Step at which stage 2 begins, if it does. */
  readonly stage2Step?: number;
}

/** Points of a curve at most, and of all curves of a plot together: each is then the mean over a stretch of steps. */
const [mostPoints, mostPointsOfPlot] = [2000, 60_000];
/** Loss terms and tasks of one run that are drawn; runs have a few of the first and some dozen of the second. */
const mostCurves = 1000;

/** The log of a run; undefined where the folder is not that of one. @throws VERSEMI_FILE_CORRUPT */
export function readTraining(folder: string): TrainingLog | undefined {
  const file = runFiles(folder).metrics;
  if (!existsSync(file)) return undefined;
  const events = readEvents(file);
  const losses = new Curves(file);
  const validation = new Curves(file);
  const means: (readonly [number, number])[] = [];
  let stage2Step: number | undefined;
  for (const event of events)
    if (event.type === 'step') {
      losses.add(event.step, event.losses);
      if (event.stage === 2) stage2Step ??= event.step;
    } else if (event.type === 'validation') {
      validation.add(event.step, event.perTask);
      means.push([event.step, event.mean ?? Number.NaN]);
    }
  return {
    name: basename(folder),
    events,
    losses: losses.series,
    validation: [...validation.series, ...(validation.series.length > 1 ? [{ name: 'mean', points: means }] : [])],
    ...(stage2Step === undefined ? {} : { stage2Step }),
  };
}

/** Values by name over steps, in order of first appearance. */
class Curves {
  private readonly byName = new Map<string, (readonly [number, number])[]>();

  constructor(private readonly file: string) {}

  add(step: number, values: Readonly<Record<string, number | null>>): void {
    for (const [name, value] of Object.entries(values)) {
      const points = this.byName.get(name);
      if (points === undefined) this.byName.set(name, [[step, value ?? Number.NaN]]);
      else points.push([step, value ?? Number.NaN]);
    }
    if (this.byName.size > mostCurves) {
      throw new VersemiError('FILE_CORRUPT', {
        file: this.file,
        expected: `at most ${mostCurves} loss terms or tasks`,
        found: `${this.byName.size}`,
        remedy: 'Give the folder of a run of versemi.',
      });
    }
  }

  get series(): Series[] {
    return [...this.byName].map(([name, points]) => ({ name, points }));
  }
}

/** Curves as a page holds them; those of a run of a million steps too. Values that are no finite numbers are gaps. */
export function pageCurves(facts: Omit<PageCurves, 'x' | 'series'>, series: readonly Series[]): PageCurves[] {
  const places = [...new Set(series.flatMap(({ points }) => points.map(([at]) => at)))].sort((a, b) => a - b);
  if (places.length === 0) return [];
  const most = Math.min(mostPoints, Math.ceil(mostPointsOfPlot / series.length));
  const stretch = Math.ceil(places.length / most);
  const stretchOf = new Map(places.map((at, i) => [at, Math.floor(i / stretch)]));
  const count = Math.ceil(places.length / stretch);
  // Each stretch stands at its last place.
  const x = Array.from({ length: count }, (_, i) => places[Math.min(places.length, (i + 1) * stretch) - 1]!);
  return [
    {
      ...{ ...facts, x },
      series: series.map(({ name, points }) => {
        const [sums, counts] = [new Float64Array(count), new Uint32Array(count)];
        for (const [at, value] of points) {
          const i = stretchOf.get(at)!;
          sums[i]! += value;
          counts[i]!++;
        }
        return { name, y: Array.from(sums, (sum, i) => rounded(sum / counts[i]!)) };
      }),
    },
  ];
}

function rounded(value: number): number | null {
  return Number.isFinite(value) ? Number(value.toPrecision(5)) : null;
}
