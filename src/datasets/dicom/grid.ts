import { VersemiError } from '../../errors.js';
import type { Affine, Triple } from '../../volume/volume.js';
import { dot, type Frame, normalOf } from './instance.js';
import { describeSeries, type Series } from './series.js';

/** The frames of a series in the order of their places, and where the volume lies that they make up. */
export interface Grid {
  /** Along the normal of the planes. */
  readonly frames: readonly Frame[];
  /** Columns, rows, frames. */
  readonly sizeVoxels: Triple;
  /** 4 x 4, row-major, from (column, row, frame) to millimetres in RAS+ space; sheared where the gantry was tilted. */
  readonly affine: Affine;
  /** Degrees between the direction from slice to slice and the normal of the slices; 0 where they agree. */
  readonly tiltDegrees: number;
}

/** Deviation of a slice from its even place that is taken for rounding: a tenth of the distance, or of a millimetre. */
function evenTolerance(spacingMm: number): number {
  return Math.min(spacingMm / 3, Math.max(0.1 * spacingMm, 0.1));
}
/** Two slices at one place. */
const samePlaceMm = 1e-3;
/** Smaller angles are rounding of positions. */
const leastTiltDegrees = 0.1;

/**
 * Sorts frames along their normal and checks that they fill a volume evenly.
 * @throws VERSEMI_VOLUME_INVALID when slices are missing, uneven, twice at one place or beside each other: names the series, the
 *   files and the place
 */
export function gridOf(series: Series): Grid {
  const orientation = meanOrientation(series.frames);
  const normal = normalOf(orientation);
  const along = (frame: Frame) => dot(frame.positionMm, normal);
  const frames = [...series.frames].sort((a, b) => along(a) - along(b) || a.index - b.index);
  const [first, last] = [frames[0]!, frames[frames.length - 1]!];
  const fail = (file: Frame, expected: string, found: string, remedy: string) =>
    new VersemiError('VOLUME_INVALID', {
      file: file.instance.file.name,
      field: `series ${describeSeries(series)}`,
      expected,
      found,
      remedy,
    });
  const steps = frames.slice(1).map((frame, i) => along(frame) - along(frames[i]!));
  const twice = steps.findIndex((step) => step < samePlaceMm);
  if (twice >= 0) {
    const [a, b] = [frames[twice]!, frames[twice + 1]!];
    throw fail(
      b,
      'one slice at each place',
      `two at ${placeText(a.positionMm)}: ${frameName(a)} and ${frameName(b)}`,
      'Separate what the series holds at each place (echoes, phases, acquisitions, copies) and give one of them.',
    );
  }
  const usual = median(steps);
  const gap = steps.findIndex((step) => step > (1 + 0.5) * usual);
  if (gap >= 0) {
    const [before, after] = [frames[gap]!, frames[gap + 1]!];
    const missing = Math.round(steps[gap]! / usual) - 1;
    const t = usual / steps[gap]!;
    const place = triad((i) => before.positionMm[i]! + t * (after.positionMm[i]! - before.positionMm[i]!));
    throw fail(
      after,
      `slices every ${round(usual)} mm`,
      `${missing <= 1 ? 'no slice' : `none of ${missing} slices`} at ${placeText(place)}, between ${frameName(before)} and ${frameName(after)}`,
      'Export the series again, with all of its images.',
    );
  }
  const count = frames.length;
  const step = triad((i) => (count === 1 ? normal[i]! : (last.positionMm[i]! - first.positionMm[i]!) / (count - 1)));
  const spacing = count === 1 ? 1 : dot(step, normal);
  for (const [k, frame] of frames.entries()) {
    const off = triad((i) => frame.positionMm[i]! - first.positionMm[i]! - k * (count === 1 ? 0 : step[i]!));
    const across = Math.abs(dot(off, normal));
    const within = Math.hypot(...triad((i) => off[i]! - dot(off, normal) * normal[i]!));
    if (across > evenTolerance(spacing) || within > evenTolerance(Math.min(...first.spacingMm))) {
      throw fail(
        frame,
        `slices every ${round(spacing)} mm along a line`,
        `${frameName(frame)} at ${placeText(frame.positionMm)}, ${round(across)} mm before or behind and ${round(within)} mm beside its place`,
        'Give the images of one acquisition only; a volume with uneven slices must be resampled by a program that knows its acquisition.',
      );
    }
  }
  const cosine = Math.min(1, Math.abs(dot(step, normal)) / Math.hypot(...step));
  const degrees = count === 1 ? 0 : (Math.acos(cosine) * 180) / Math.PI;
  const [row, column] = [orientation.slice(0, 3), orientation.slice(3)];
  const thickness = count === 1 ? singleSliceMm(first) : 1;
  // A tilt that is rounding is left out of the affine.
  const tilted = degrees >= leastTiltDegrees;
  const across = triad((i) => (tilted || count === 1 ? step[i]! * thickness : normal[i]! * spacing));
  const directions = [row.map((d) => d * first.spacingMm[1]), column.map((d) => d * first.spacingMm[0]), across];
  const line = (r: number, sign: number) => [
    ...directions.map((d) => sign * d[r]! + 0),
    sign * first.positionMm[r]! + 0,
  ];
  return {
    frames,
    sizeVoxels: [series.columns, series.rows, count],
    affine: [...line(0, -1), ...line(1, -1), ...line(2, 1), 0, 0, 0, 1],
    tiltDegrees: tilted ? degrees : 0,
  };
}

/** Nothing says how thick the only slice of a series is, as far as places go. */
function singleSliceMm(frame: Frame): number {
  return frame.sliceThicknessMm ?? Math.max(...frame.spacingMm);
}

/** Frames of a series agree to rounding, which the mean evens out. */
function meanOrientation(frames: readonly Frame[]): readonly number[] {
  const first = frames[0]!.orientation;
  if (frames.every(({ orientation }) => orientation.every((value, i) => value === first[i]))) return first;
  const mean = first.map((_, i) => frames.reduce((sum, { orientation }) => sum + orientation[i]!, 0) / frames.length);
  const [row, column] = [mean.slice(0, 3), mean.slice(3)];
  const unit = (v: readonly number[]) => v.map((value) => value / Math.hypot(...v));
  return [...unit(row), ...unit(column)];
}

function triad(value: (i: number) => number): Triple {
  return [value(0), value(1), value(2)];
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function frameName({ instance, index }: Frame): string {
  return instance.numberOfFrames === 1 ? instance.file.name : `frame ${index + 1} of ${instance.file.name}`;
}

function placeText(position: Triple): string {
  return `(${position.map(round).join(', ')}) mm`;
}

function round(value: number): string {
  return String(Number(value.toFixed(3)));
}
