/** A case as the page of a report shows it: small enough that a page holds a hundred, so that it needs no file beside it. */
import { deflateSync } from 'node:zlib';
import { frameCodecs } from '../datasets/dicom/library.js';
import type { CaseOutcome } from '../inference/evaluate.js';
import type { Scan } from '../scans/scan.js';
import { type Triple, voxelCount } from '../volume/volume.js';
import { type Box, host } from '../wasm/host.js';

/** What a page shows of one case; `slicesSchema` in report-inputs.ts checks it when it is read. */
export interface CaseSlices {
  readonly format: 1;
  readonly id: string;
  readonly dataset: string;
  /** Of the grid that is shown, x y z, canonical axes. */
  readonly sizeVoxels: Triple;
  readonly spacingMm: Triple;
  /** Axial slices stand side by side in a picture, so many in a row. */
  readonly columns: number;
  /** Width and height in pixels of the place of a slice; the slice is in its upper left. */
  readonly tilePixels: readonly [width: number, height: number];
  /** Base64 of a JPEG. */
  readonly image: string;
  readonly tasks: readonly {
    readonly task: string;
    /** Base64 of a zlib stream of bits, lowest first: voxels [z, y, x] of the reference, then of the prediction. */
    readonly masks: string;
  }[];
}

/** Voxels that are shown of a case at most, and along one axis. */
const [mostVoxels, mostAlong] = [450_000, 512];
/** What is shown around the masks: a share of their extent, and at least some millimetres. */
const [marginShare, marginMm] = [0.2, 12];
/** Of libjpeg, the first that is small enough, else the last: of the first, differences are seen at an enlargement alone. */
const qualities = [60, 40, 25] as const;
/** A hundred pictures of this size, as base64 and with their masks, leave room in 15 MB. */
const smallBytes = 65_000;

/**
 * The part of a case around its masks, in steps of whole voxels coarse enough that it has at most {@link mostVoxels}: the image is
 * averaged over them, masks are taken at their centres.
 * @param outcomes all tasks of one case, at least one
 */
export async function makeSlices(outcomes: readonly CaseOutcome[]): Promise<CaseSlices> {
  const { image, result } = outcomes[0]!;
  const box = shownBox(outcomes);
  const extent = difference(box);
  const steps = stepsFor(extent, image.spacingMm);
  const sizeVoxels = extent.map((length, axis) => Math.ceil(length / steps[axis]!)) as unknown as Triple;
  const { picture, columns, tilePixels } = tiled(windowed(averaged(image, box, steps, sizeVoxels)), sizeVoxels);
  // The bytes of the masks of all tasks lie in the same arrays, one task after the other: as garbage they would add up.
  const bytes = [0, 1].map(() => new Uint8Array(voxelCount(extent)));
  const tasks = outcomes.map(({ result: { task }, prediction, reference }) => {
    const masks = [reference, prediction].map(({ packed }, i) => host().unpackMask(packed, box, bytes[i]));
    return { task, masks: base64(deflateSync(bitsOf(masks, extent, steps, sizeVoxels), { level: 9 })) };
  });
  return {
    format: 1,
    id: result.id,
    dataset: result.dataset,
    sizeVoxels,
    spacingMm: image.spacingMm.map((length, axis) => length * steps[axis]!) as unknown as Triple,
    columns,
    tilePixels,
    image: base64(await jpeg(picture)),
    tasks,
  };
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

function difference({ begin, end }: Box): Triple {
  return end.map((last, axis) => last - begin[axis]!) as unknown as Triple;
}

/** Around all masks of a case; the whole image where they are empty. */
function shownBox(outcomes: readonly CaseOutcome[]): Box {
  const { sizeVoxels, spacingMm } = outcomes[0]!.image;
  const bytes = new Uint8Array(voxelCount(sizeVoxels));
  const boxes = outcomes.flatMap(({ prediction, reference }) =>
    [prediction, reference].flatMap(
      ({ packed }) => host().boundingBox(host().unpackMask(packed, undefined, bytes), sizeVoxels) ?? [],
    ),
  );
  if (boxes.length === 0) return { begin: [0, 0, 0], end: sizeVoxels };
  const axes = [0, 1, 2] as const;
  const low = axes.map((axis) => Math.min(...boxes.map(({ begin }) => begin[axis])));
  const high = axes.map((axis) => Math.max(...boxes.map(({ end }) => end[axis])));
  const margin = axes.map((axis) =>
    Math.ceil(Math.max((high[axis]! - low[axis]!) * marginShare, marginMm / spacingMm[axis])),
  );
  return {
    begin: axes.map((axis) => Math.max(0, low[axis]! - margin[axis]!)) as unknown as Triple,
    end: axes.map((axis) => Math.min(sizeVoxels[axis], high[axis]! + margin[axis]!)) as unknown as Triple,
  };
}

/** Voxels of the scan, per axis, that become one: first along the axis on which they are nearest to each other. */
function stepsFor(extent: Triple, spacingMm: Triple): Triple {
  const steps: [number, number, number] = [1, 1, 1];
  const sizeAlong = (axis: number) => Math.ceil(extent[axis]! / steps[axis]!);
  for (;;) {
    const sizes = [0, 1, 2].map(sizeAlong);
    const long = sizes.findIndex((size) => size > mostAlong);
    if (long < 0 && sizes[0]! * sizes[1]! * sizes[2]! <= mostVoxels) return steps;
    const coarse = (axis: number) => (sizes[axis]! > 1 ? steps[axis]! * spacingMm[axis]! : Number.POSITIVE_INFINITY);
    const finest = [0, 1, 2].reduce((best, axis) => (coarse(axis) < coarse(best) ? axis : best));
    steps[long < 0 ? finest : long]!++;
  }
}

/** The scale of the scan does not matter to grey values, but its sign does. */
function averaged(
  { slices, sizeVoxels, slope = 1 }: Scan,
  { begin, end }: Box,
  steps: Triple,
  shown: Triple,
): Float32Array {
  const sums = new Float64Array(voxelCount(shown));
  const counts = new Uint32Array(sums.length);
  for (let z = begin[2]; z < end[2]; z++) {
    const slice = slices(z, z + 1);
    for (let y = begin[1]; y < end[1]; y++) {
      const row = (Math.floor((z - begin[2]) / steps[2]) * shown[1] + Math.floor((y - begin[1]) / steps[1])) * shown[0];
      for (let x = begin[0]; x < end[0]; x++) {
        const at = row + Math.floor((x - begin[0]) / steps[0]);
        sums[at]! += slice[y * sizeVoxels[0] + x]!;
        counts[at]!++;
      }
    }
  }
  return Float32Array.from(sums, (sum, i) => (Math.sign(slope) * sum) / counts[i]!);
}

/** Grey values 0 to 255 between the percentiles 0.5 and 99.5. */
function windowed(values: Float32Array): Uint8Array {
  const sorted = values.filter(Number.isFinite).sort();
  const low = sorted[Math.floor(sorted.length * 0.005)] ?? 0;
  const high = sorted[Math.ceil(sorted.length * 0.995) - 1] ?? 0;
  const scale = high > low ? 255 / (high - low) : 0;
  return Uint8Array.from(values, (value) =>
    Number.isFinite(value) ? Math.round(Math.max(0, Math.min(255, (value - low) * scale))) : 0,
  );
}

interface Picture {
  readonly width: number;
  readonly height: number;
  readonly gray: Uint8Array;
}

/** JPEG compresses blocks of 8 x 8 pixels: no slice shares one with another, and edges are repeated to the end of theirs. */
function tiled(values: Uint8Array, [sizeX, sizeY, sizeZ]: Triple) {
  const tilePixels = [Math.ceil(sizeX / 8) * 8, Math.ceil(sizeY / 8) * 8] as const;
  const columns = Math.min(sizeZ, Math.max(1, Math.round(Math.sqrt((sizeZ * tilePixels[1]) / tilePixels[0]))));
  const width = columns * tilePixels[0];
  const height = Math.ceil(sizeZ / columns) * tilePixels[1];
  const gray = new Uint8Array(width * height);
  for (let z = 0; z < sizeZ; z++) {
    const corner = Math.floor(z / columns) * tilePixels[1] * width + (z % columns) * tilePixels[0];
    for (let y = 0; y < tilePixels[1]; y++) {
      const from = (z * sizeY + Math.min(y, sizeY - 1)) * sizeX;
      const to = corner + y * width;
      gray.set(values.subarray(from, from + sizeX), to);
      gray.fill(values[from + sizeX - 1]!, to + sizeX, to + tilePixels[0]);
    }
  }
  return { picture: { width, height, gray }, columns, tilePixels };
}

async function jpeg({ width, height, gray }: Picture): Promise<Uint8Array> {
  const { native, Context } = await frameCodecs();
  const frame = () =>
    new Context({
      ...{ width, height, bitsAllocated: 8, bitsStored: 8, samplesPerPixel: 1 },
      ...{ pixelRepresentation: 0, planarConfiguration: 0, photometricInterpretation: 'MONOCHROME2' },
      decodedBuffer: gray,
    });
  const encoded = (quality: number) => native.encodeJpeg(frame(), { lossy: true, quality }).getEncodedBuffer()!;
  let bytes = encoded(qualities[0]);
  for (const quality of qualities.slice(1)) {
    if (bytes.length <= smallBytes) break;
    bytes = encoded(quality);
  }
  return bytes;
}

/** Masks at the centres of steps, as bits. @param masks bytes of the box */
function bitsOf(masks: readonly Uint8Array[], extent: Triple, steps: Triple, shown: Triple): Uint8Array {
  const voxels = voxelCount(shown);
  const bits = new Uint8Array(Math.ceil((masks.length * voxels) / 8));
  const centers = shown.map((size, axis) =>
    Array.from({ length: size }, (_, i) => Math.min(extent[axis]! - 1, i * steps[axis]! + (steps[axis]! >> 1))),
  );
  let bit = 0;
  for (const mask of masks)
    for (const z of centers[2]!)
      for (const y of centers[1]!)
        for (const x of centers[0]!) {
          if (mask[(z * extent[1] + y) * extent[0] + x] !== 0) bits[bit >> 3]! |= 1 << (bit & 7);
          bit++;
        }
  return bits;
}
