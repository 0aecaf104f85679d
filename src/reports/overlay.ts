import type { Triple } from '../volume/volume.js';

/** Colours of contours, RGB: chosen to stay apart for the common forms of colour blindness. */
export const contourColors = { reference: [0, 200, 120], prediction: [255, 120, 0] } as const;

export interface OverlayInput {
  /** Intensities [z, y, x] in any scale, by the index of the voxel; they are read row by row. */
  readonly image: { at(voxel: number): number | undefined };
  readonly sizeVoxels: Triple;
  readonly spacingMm: Triple;
  /** [z, y, x], nonzero = foreground. */
  readonly prediction: Uint8Array;
  readonly reference?: Uint8Array;
  /** Height of the picture in pixels; the tallest plane fills it. */
  readonly heightPixels?: number;
}

interface Plane {
  readonly width: number;
  readonly height: number;
  readonly widthMm: number;
  readonly heightMm: number;
  /** Linear voxel index of pixel (column, row); row 0 is the top. */
  readonly index: (column: number, row: number) => number;
}

/**
 * Axial, coronal and sagittal slices side by side through the voxel planes where the masks have most foreground, with the
 * outlines of the reference and the prediction. Patient right is on the left, as radiologists look at scans.
 * @returns RGB bytes [height, width, 3]
 */
export function renderOverlay(input: OverlayInput): { width: number; height: number; rgb: Uint8Array } {
  const [sizeX, sizeY, sizeZ] = input.sizeVoxels;
  const height = input.heightPixels ?? 256;
  const [cutX, cutY, cutZ] = busiestPlanes(input);
  const [spacingX, spacingY, spacingZ] = input.spacingMm;
  // RAS+ axes grow to the right, front and top of the patient.
  const planes: Plane[] = [
    {
      ...extent(sizeX, sizeY, spacingX, spacingY),
      index: (c, r) => sizeX - 1 - c + sizeX * (sizeY - 1 - r + sizeY * cutZ),
    },
    {
      ...extent(sizeX, sizeZ, spacingX, spacingZ),
      index: (c, r) => sizeX - 1 - c + sizeX * (cutY + sizeY * (sizeZ - 1 - r)),
    },
    {
      ...extent(sizeY, sizeZ, spacingY, spacingZ),
      index: (c, r) => cutX + sizeX * (sizeY - 1 - c + sizeY * (sizeZ - 1 - r)),
    },
  ];
  const gap = 4;
  // One scale for all three, so that a length is a length in each: thick slices look thick, not wide.
  const pixelsPerMm = height / planes.reduce((most, plane) => Math.max(most, plane.heightMm), 0);
  const pixels = (lengthMm: number) => Math.max(1, Math.round(lengthMm * pixelsPerMm));
  const width = planes.reduce((sum, plane) => sum + pixels(plane.widthMm), gap * (planes.length - 1));
  const rgb = new Uint8Array(width * height * 3);
  let left = 0;
  for (const plane of planes) {
    drawPlane(rgb, width, left, pixels(plane.widthMm), pixels(plane.heightMm), plane, input);
    left += pixels(plane.widthMm) + gap;
  }
  return { width, height, rgb };
}

function extent(width: number, height: number, spacingWidth: number, spacingHeight: number) {
  return { width, height, widthMm: width * spacingWidth, heightMm: height * spacingHeight };
}

/** Per axis, the plane with most voxels in either mask; the middle where both are empty. */
function busiestPlanes({ sizeVoxels, prediction, reference }: OverlayInput): Triple {
  const [sizeX, sizeY, sizeZ] = sizeVoxels;
  const counts = [new Uint32Array(sizeX), new Uint32Array(sizeY), new Uint32Array(sizeZ)] as const;
  for (let z = 0, i = 0; z < sizeZ; z++) {
    for (let y = 0; y < sizeY; y++) {
      for (let x = 0; x < sizeX; x++, i++) {
        if (prediction[i] === 0 && (reference === undefined || reference[i] === 0)) continue;
        counts[0][x]!++;
        counts[1][y]!++;
        counts[2][z]!++;
      }
    }
  }
  const best = counts.map((count) => {
    const most = count.reduce((a, b) => Math.max(a, b), 0);
    return most === 0 ? count.length >> 1 : count.indexOf(most);
  });
  return [best[0]!, best[1]!, best[2]!];
}

function drawPlane(
  rgb: Uint8Array,
  stride: number,
  left: number,
  width: number,
  height: number,
  plane: Plane,
  { image, prediction, reference }: OverlayInput,
): void {
  const values: number[] = [];
  for (let r = 0; r < plane.height; r++)
    for (let c = 0; c < plane.width; c++) values.push(image.at(plane.index(c, r))!);
  values.sort((a, b) => a - b);
  const low = values[Math.floor(values.length * 0.01)]!;
  const high = values[Math.min(values.length - 1, Math.floor(values.length * 0.99))]!;
  const scale = high > low ? 255 / (high - low) : 0;
  const column = (x: number) => Math.min(plane.width - 1, Math.floor(((x + 0.5) * plane.width) / width));
  const row = (y: number) => Math.min(plane.height - 1, Math.floor(((y + 0.5) * plane.height) / height));
  const inside = (mask: Uint8Array, x: number, y: number) =>
    x >= 0 && y >= 0 && x < width && y < height && mask[plane.index(column(x), row(y))] !== 0;
  const outline = (mask: Uint8Array, x: number, y: number) =>
    inside(mask, x, y) &&
    !(inside(mask, x - 1, y) && inside(mask, x + 1, y) && inside(mask, x, y - 1) && inside(mask, x, y + 1));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const gray = Math.max(0, Math.min(255, (image.at(plane.index(column(x), row(y)))! - low) * scale));
      const marks = [
        ...(reference !== undefined && outline(reference, x, y) ? [contourColors.reference] : []),
        ...(outline(prediction, x, y) ? [contourColors.prediction] : []),
      ];
      // Where both outlines coincide they alternate, so that neither hides the other.
      const color = marks.length === 0 ? [gray, gray, gray] : marks[(x + y) % marks.length]!;
      rgb.set(color, 3 * (y * stride + left + x));
    }
  }
}
