/** One plane of a case on a canvas: patient right on the left, as radiologists look at scans. */
import { contourColors } from '../src/reports/overlay.js';
import type { Slices } from './slices.js';
import { contourStyles } from './theme.js';

export const planeNames = ['Axial', 'Coronal', 'Sagittal'] as const;

/** What is drawn over the image. */
export type Mode = 'outlines' | 'errors' | 'image';

interface Layout {
  /** Axis of the volume along columns, along rows, and through the plane. */
  readonly column: 0 | 1;
  readonly row: 1 | 2;
  readonly through: 0 | 1 | 2;
  /** Sides of the patient: left, right, top and bottom of the picture. */
  readonly sides: readonly [string, string, string, string];
}

const layouts: readonly Layout[] = [
  { column: 0, row: 1, through: 2, sides: ['R', 'L', 'A', 'P'] },
  { column: 0, row: 2, through: 1, sides: ['R', 'L', 'S', 'I'] },
  { column: 1, row: 2, through: 0, sides: ['A', 'P', 'S', 'I'] },
];

export class Plane {
  readonly canvas = document.createElement('canvas');
  readonly through: 0 | 1 | 2;
  readonly widthMm: number;
  readonly heightMm: number;
  private readonly layout: Layout;
  private readonly width: number;
  private readonly height: number;

  constructor(
    private readonly slices: Slices,
    readonly index: number,
  ) {
    this.layout = layouts[index]!;
    this.through = this.layout.through;
    const { column, row } = this.layout;
    [this.width, this.height] = [slices.sizeVoxels[column], slices.sizeVoxels[row]];
    this.widthMm = this.width * slices.spacingMm[column];
    this.heightMm = this.height * slices.spacingMm[row];
    this.canvas.setAttribute('role', 'img');
  }

  /** Slices through the plane. */
  get depth(): number {
    return this.slices.sizeVoxels[this.through];
  }

  /** Linear index of the voxel at a pixel; both axes of a picture run against those of the volume. */
  private voxel(position: number, column: number, row: number): number {
    const { sizeVoxels } = this.slices;
    const place: [number, number, number] = [0, 0, 0];
    place[this.layout.column] = this.width - 1 - column;
    place[this.layout.row] = this.height - 1 - row;
    place[this.through] = position;
    return place[0] + sizeVoxels[0] * (place[1] + sizeVoxels[1] * place[2]);
  }

  /** The voxel under a point of the canvas. @param x,y shares of its width and height */
  placeAt(position: number, x: number, y: number): [number, number, number] {
    const place: [number, number, number] = [0, 0, 0];
    const inside = (share: number, size: number) =>
      Math.max(0, Math.min(size - 1, size - 1 - Math.floor(share * size)));
    place[this.layout.column] = inside(x, this.width);
    place[this.layout.row] = inside(y, this.height);
    place[this.through] = position;
    return place;
  }

  draw(
    place: readonly [number, number, number],
    task: Slices['tasks'][number] | undefined,
    mode: Mode,
    pixelsPerMm: number,
    crosshair: boolean,
  ): void {
    const position = place[this.through];
    const { canvas, width, height } = this;
    const density = devicePixelRatio || 1;
    const [cssWidth, cssHeight] = [this.widthMm, this.heightMm].map((mm) => Math.max(1, Math.round(mm * pixelsPerMm)));
    [canvas.width, canvas.height] = [Math.round(cssWidth! * density), Math.round(cssHeight! * density)];
    canvas.style.width = `${cssWidth}px`;
    canvas.style.height = `${cssHeight}px`;
    const context = canvas.getContext('2d')!;
    context.imageSmoothingQuality = 'high';
    context.drawImage(
      this.layer(position, (i) => grayAt(this.slices.gray[i]!)),
      0,
      0,
      canvas.width,
      canvas.height,
    );
    const [scaleX, scaleY] = [canvas.width / width, canvas.height / height];
    if (task !== undefined && mode === 'errors') {
      context.imageSmoothingEnabled = false;
      context.drawImage(
        this.layer(position, (i) => errorAt(task, i)),
        0,
        0,
        canvas.width,
        canvas.height,
      );
    } else if (task !== undefined && mode === 'outlines') {
      context.lineWidth = 1.6 * density;
      this.outline(context, task.reference, position, scaleX, scaleY, contourStyles.reference, []);
      // Dashes let the outline below be seen where both coincide.
      this.outline(context, task.prediction, position, scaleX, scaleY, contourStyles.prediction, [
        4 * density,
        3 * density,
      ]);
    }
    if (crosshair) {
      const x = (width - place[this.layout.column] - 0.5) * scaleX;
      const y = (height - place[this.layout.row] - 0.5) * scaleY;
      context.setLineDash([]);
      context.lineWidth = density;
      context.strokeStyle = 'rgba(120, 190, 255, 0.45)';
      context.beginPath();
      context.moveTo(x, 0);
      context.lineTo(x, canvas.height);
      context.moveTo(0, y);
      context.lineTo(canvas.width, y);
      context.stroke();
    }
    this.letters(context, density);
    canvas.setAttribute('aria-label', `${planeNames[this.index]} slice ${position + 1} of ${this.depth}`);
  }

  private layer(position: number, colorOf: (voxel: number) => number): HTMLCanvasElement {
    const layer = document.createElement('canvas');
    [layer.width, layer.height] = [this.width, this.height];
    const context = layer.getContext('2d')!;
    const picture = context.createImageData(this.width, this.height);
    const pixels = new Uint32Array(picture.data.buffer);
    for (let row = 0, i = 0; row < this.height; row++)
      for (let column = 0; column < this.width; column++, i++) pixels[i] = colorOf(this.voxel(position, column, row));
    context.putImageData(picture, 0, 0);
    return layer;
  }

  /** The edges between voxels inside and outside of a mask. */
  private outline(
    context: CanvasRenderingContext2D,
    mask: Uint8Array,
    position: number,
    scaleX: number,
    scaleY: number,
    color: string,
    dashes: number[],
  ): void {
    const inside = (column: number, row: number) =>
      column >= 0 &&
      row >= 0 &&
      column < this.width &&
      row < this.height &&
      mask[this.voxel(position, column, row)] === 1;
    context.strokeStyle = color;
    context.setLineDash(dashes);
    context.beginPath();
    const line = (x1: number, y1: number, x2: number, y2: number) => {
      context.moveTo(x1 * scaleX, y1 * scaleY);
      context.lineTo(x2 * scaleX, y2 * scaleY);
    };
    // Edges of one row, or one column, that follow each other are one line, so that dashes go on.
    for (let row = 0; row <= this.height; row++)
      for (let column = 0, from = -1; column <= this.width; column++) {
        const edge = column < this.width && inside(column, row - 1) !== inside(column, row);
        if (edge && from < 0) from = column;
        if (edge || from < 0) continue;
        line(from, row, column, row);
        from = -1;
      }
    for (let column = 0; column <= this.width; column++)
      for (let row = 0, from = -1; row <= this.height; row++) {
        const edge = row < this.height && inside(column - 1, row) !== inside(column, row);
        if (edge && from < 0) from = row;
        if (edge || from < 0) continue;
        line(column, from, column, row);
        from = -1;
      }
    context.stroke();
  }

  private letters(context: CanvasRenderingContext2D, density: number): void {
    const { width, height } = this.canvas;
    const [left, right, top, bottom] = this.layout.sides;
    context.font = `600 ${12 * density}px system-ui, sans-serif`;
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    context.setLineDash([]);
    context.lineWidth = 3 * density;
    context.strokeStyle = '#000';
    context.fillStyle = '#fff';
    const edge = 10 * density;
    for (const [letter, x, y] of [
      [left, edge, height / 2],
      [right, width - edge, height / 2],
      [top, width / 2, edge],
      [bottom, width / 2, height - edge],
    ] as const) {
      context.strokeText(letter, x, y);
      context.fillText(letter, x, y);
    }
  }
}

/** A pixel as a number, whose lowest byte is red on every machine that runs browsers. */
function pixel(red: number, green: number, blue: number, alpha: number): number {
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function grayAt(value: number): number {
  return pixel(value, value, value, 255);
}

const missed = pixel(...contourColors.reference, 200);
const added = pixel(...contourColors.prediction, 200);
const agreed = pixel(86, 180, 233, 80);

function errorAt({ reference, prediction }: Slices['tasks'][number], voxel: number): number {
  if (reference[voxel] === prediction[voxel]) return reference[voxel] === 1 ? agreed : 0;
  return reference[voxel] === 1 ? missed : added;
}

/** Per axis, the plane in which the weights of the voxels have the largest sum; the middle where all are 0. */
export function busiest(
  [sizeX, sizeY, sizeZ]: Slices['sizeVoxels'],
  weight: (voxel: number) => number,
): [number, number, number] {
  const sums = [new Uint32Array(sizeX), new Uint32Array(sizeY), new Uint32Array(sizeZ)] as const;
  for (let z = 0, i = 0; z < sizeZ; z++)
    for (let y = 0; y < sizeY; y++)
      for (let x = 0; x < sizeX; x++, i++) {
        const own = weight(i);
        if (own === 0) continue;
        sums[0][x]! += own;
        sums[1][y]! += own;
        sums[2][z]! += own;
      }
  const place = sums.map((sum) => {
    const most = sum.reduce((a, b) => Math.max(a, b), 0);
    return most === 0 ? sum.length >> 1 : sum.indexOf(most);
  });
  return [place[0]!, place[1]!, place[2]!];
}
