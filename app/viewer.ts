import { NVImage } from '@niivue/niivue';
import { encodeNiftiHeader } from '../src/datasets/nifti-encode.js';
import { rgbOf } from '../src/inference/task-identity.js';
import type { Triple } from '../src/volume/volume.js';
import { LeanNiivue } from './lean-niivue.js';
import type { Grid, OpenedScan } from './protocol.js';

/** NiiVue's numbers for planes side by side, and for showing the 3-D view beside them. */
const multiplanar = 3;
const always = 1;
/** What a click paints with. */
const inside = 1;

export interface Shown {
  readonly colour: string;
  readonly opacity: number;
}

/** 0 and 1, and how they look. */
export interface ShownMask {
  readonly task: string;
  readonly mask: Uint8Array;
  readonly shown: Shown;
}

/** Scan and masks on the canonical grid, in three planes and in 3-D. Masks are layers; the one that is corrected is NiiVue's drawing. */
export class Viewer {
  private readonly nv: LeanNiivue;
  private readonly layers = new Map<string, NVImage>();
  private scan: OpenedScan | undefined;
  private hidden = false;
  private edited: string | undefined;
  /** Called when a stroke has ended. */
  onStroke: () => void = () => undefined;
  /** Called with the voxel under the crosshair and the value there. */
  onPlace: (voxel: Triple, value: number) => void = () => undefined;

  constructor(private readonly canvas: HTMLCanvasElement) {
    this.nv = new LeanNiivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.34, 0.71, 0.91, 0.6],
      crosshairWidth: 0.2,
      crosshairWidthUnit: 'percent',
      show3Dcrosshair: true,
      isRadiologicalConvention: true,
      sagittalNoseLeft: false,
      multiplanarShowRender: always,
      sliceType: multiplanar,
      dragAndDropEnabled: false,
      viewModeHotKey: '',
      clipPlaneHotKey: '',
      cycleClipPlaneHotKey: '',
      loadingText: '',
      logLevel: 'silent',
      maxDrawUndoBitmaps: 1,
      penSize: 5,
      isForceMouseClickToVoxelCenters: true,
    });
    this.nv.onDrawingChanged = (action) => {
      if (action === 'draw') this.onStroke();
    };
    this.nv.onLocationChange = (location) => {
      const { values } = location as { readonly values?: readonly { readonly value: number }[] };
      if (this.scan !== undefined) this.onPlace(this.crosshair(), values?.[0]?.value ?? Number.NaN);
    };
  }

  async start(): Promise<void> {
    await this.nv.attachToCanvas(this.canvas);
  }

  /**
   * Shows a scan in place of the one before, without masks.
   * @param nifti its voxels, which are kept nowhere else on the page
   * @param window the values that are black and white
   */
  async show(scan: OpenedScan, nifti: ArrayBuffer, [low, high]: readonly [number, number]): Promise<void> {
    this.clear();
    const image = await NVImage.loadFromUrl({ url: nifti, name: 'scan.nii', cal_min: low, cal_max: high });
    this.scan = scan;
    this.together(() => {
      this.nv.addVolume(image);
      this.nv.setSliceType(multiplanar);
    });
  }

  /** Frees scan and masks. */
  clear(): void {
    this.together(() => {
      this.removeMasks();
      for (const volume of [...this.nv.volumes]) this.nv.removeVolume(volume);
    });
    this.nv.freeScan();
    this.scan = undefined;
  }

  /** Draws once, after all of the changes. */
  together(changes: () => void): void {
    const drawn = this.nv.hold();
    try {
      changes();
    } finally {
      drawn();
    }
  }

  setWindow(low: number, high: number): void {
    const [scan] = this.nv.volumes;
    if (scan === undefined) return;
    scan.cal_min = low;
    scan.cal_max = high;
    this.nv.updateGLVolume();
  }

  setRadiological(radiological: boolean): void {
    this.nv.setRadiologicalConvention(radiological);
  }

  /**
   * Shows masks in place of all others.
   * @param masks 0 and 1; they are kept, not copied
   * @param grid where they lie; default: the canonical grid
   */
  async showMasks(masks: readonly ShownMask[], grid: Grid = this.scan!): Promise<void> {
    const drawn = this.nv.hold();
    try {
      this.removeLayers();
      for (const mask of masks) await this.addMask(mask, grid);
    } finally {
      drawn();
    }
  }

  /** Shows a mask on the canonical grid after voxels of it have changed. */
  changeMask(task: string, mask: Uint8Array): void {
    this.layers.get(task)!.img = mask;
    if (this.edited === task) this.refreshEdit(mask);
    else this.nv.updateGLVolume();
  }

  private async addMask({ task, mask, shown }: ShownMask, { sizeVoxels, spacingMm, affine }: Grid): Promise<void> {
    const header = encodeNiftiHeader({ data: mask, sizeVoxels, spacingMm, affine });
    const bytes = new Uint8Array(header.length + mask.length);
    bytes.set(header);
    bytes.set(mask, header.length);
    const name = `${task}.nii`;
    this.nv.addColormap(name, colormap(shown.colour));
    const image = await NVImage.loadFromUrl({
      url: bytes.buffer,
      name,
      colormap: name,
      opacity: shown.opacity,
      cal_min: 0,
      cal_max: 1,
    });
    image.img = mask;
    this.layers.set(task, image);
    this.nv.addVolume(image);
    this.look(task, shown);
  }

  removeMasks(): void {
    if (this.layers.size === 0) return;
    this.removeLayers();
    this.nv.freeMasks();
  }

  private removeLayers(): void {
    this.together(() => {
      this.closeEdit();
      for (const layer of this.layers.values()) this.nv.removeVolume(layer);
    });
    this.layers.clear();
  }

  /** Colour and opacity of a mask; while it is corrected, of the drawing. */
  look(task: string, { colour, opacity }: Shown): void {
    const layer = this.layers.get(task);
    if (layer === undefined) return;
    const name = `${task}.nii`;
    this.nv.addColormap(name, colormap(colour));
    const shown = this.hidden ? 0 : opacity;
    layer.opacity = this.edited === task ? 0 : shown;
    this.together(() => {
      if (this.edited === task) {
        this.nv.drawLut = drawingLut(colour);
        this.nv.setDrawOpacity(shown);
      }
      // Looks the colours up by the name, which stays.
      this.nv.updateGLVolume();
    });
  }

  setHidden(hidden: boolean, looks: ReadonlyMap<string, Shown>): void {
    this.hidden = hidden;
    this.together(() => {
      for (const [task, shown] of looks) this.look(task, shown);
    });
  }

  /** Puts a mask under the pen. @param pen paints, or erases */
  edit(
    task: string,
    mask: Uint8Array,
    shown: Shown,
    { erase, sizeVoxels }: { erase: boolean; sizeVoxels: number },
  ): void {
    if (this.edited !== task) {
      this.together(() => {
        this.closeEdit();
        this.edited = task;
        this.nv.createEmptyDrawing();
        // A second bitmap, for a tool that the page has not.
        this.nv.clickToSegmentGrowingBitmap = null;
        this.look(task, shown);
        this.refreshEdit(mask);
      });
    }
    this.nv.setDrawingEnabled(true);
    // A filled pen joins the ends of each stroke: a closed outline is filled.
    this.nv.setPenValue(erase ? 0 : inside, false);
    this.nv.opts.penSize = sizeVoxels;
  }

  /** The mask as the pen left it. */
  drawn(): Uint8Array {
    return this.nv.drawBitmap!;
  }

  /** Ends the correction; the mask is shown as a layer again. */
  stopEdit(shown: Shown): void {
    const task = this.edited;
    this.together(() => {
      this.closeEdit();
      if (task !== undefined) this.look(task, shown);
    });
  }

  private closeEdit(): void {
    if (this.edited === undefined) return;
    this.edited = undefined;
    this.nv.setDrawingEnabled(false);
    this.nv.closeDrawing();
  }

  private refreshEdit(mask: Uint8Array): void {
    this.nv.drawBitmap!.set(mask);
    this.nv.refreshDrawing(true);
  }

  crosshair(): Triple {
    const at = this.nv.frac2vox(this.nv.scene.crosshairPos);
    const { sizeVoxels } = this.scan!;
    return [0, 1, 2].map((i) => Math.max(0, Math.min(sizeVoxels[i]! - 1, Math.round(at[i]!)))) as unknown as Triple;
  }

  move(x: number, y: number, z: number): void {
    if (this.scan !== undefined) this.nv.moveCrosshairInVox(x, y, z);
  }

  /** Moves the crosshair of the axial plane to the right, or with -1 to the left, as the plane is shown. */
  moveOnScreen(voxels: 1 | -1): void {
    this.move(this.nv.opts.isRadiologicalConvention ? -voxels : voxels, 0, 0);
  }

  goTo([x, y, z]: Triple): void {
    const [atX, atY, atZ] = this.crosshair();
    this.move(x - atX, y - atY, z - atZ);
  }
}

function colormap(colour: string) {
  const [r, g, b] = rgbOf(colour);
  return { R: [0, r], G: [0, g], B: [0, b], A: [0, 255], I: [0, 255] };
}

function drawingLut(colour: string) {
  const lut = new Uint8ClampedArray(256 * 4);
  const [r, g, b] = rgbOf(colour);
  lut.set([r, g, b, 255], 4 * inside);
  return { lut, labels: ['', ''] };
}
