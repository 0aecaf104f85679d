import { Niivue, type NVImage } from '@niivue/niivue';

/** Texture units in which NiiVue keeps the colours of the scan, and those of all masks mixed. */
const scanUnit = 0x84c0;
const masksUnit = 0x84c2;
/** No volume: what these units hold before a scan is opened. */
const emptySize = [2, 2, 2, 2];
/** From this many voxels on, commands do not queue up: what they use is freed one after the other. */
const manyVoxels = 30e6;

/**
 * NiiVue for large scans. Each of the two textures takes four bytes per voxel. NiiVue makes both anew at every change of any volume and
 * leaves the old one of the masks to the garbage collector; here they are made once per scan, the colours of the scan are computed
 * only when the scan or its window changes, and several changes are drawn together.
 */
export class LeanNiivue extends Niivue {
  private readonly kept = new Map<number, { readonly texture: WebGLTexture | null; readonly size: string }>();
  private holding = 0;
  private changed = false;
  private updating = false;
  /** What the texture of the scan shows. */
  private shown: readonly unknown[] = [];

  /** Changes are not drawn until the function that comes back is called. */
  hold(): () => void {
    this.holding++;
    return () => {
      this.holding--;
      if (this.holding > 0 || !this.changed) return;
      this.changed = false;
      this.updateGLVolume();
    };
  }

  override updateGLVolume(): void {
    if (this.holding > 0) {
      this.changed = true;
      return;
    }
    this.updating = true;
    try {
      super.updateGLVolume();
    } finally {
      this.updating = false;
    }
  }

  override drawScene(): ReturnType<Niivue['drawScene']> {
    return this.holding > 0 ? undefined : super.drawScene();
  }

  override refreshLayers(volume: NVImage, layer: number): void {
    const { cal_min, cal_max, colormap, opacity } = volume;
    const wanted = [volume, cal_min, cal_max, colormap, opacity];
    // With masks, their turn tells the shaders what that of the scan would.
    const isShown = layer === 0 && this.overlays.length > 0 && wanted.every((each, i) => each === this.shown[i]);
    if (this.updating && isShown && !this.opts.is2DSliceShader) return;
    super.refreshLayers(volume, layer);
    if (layer === 0) this.shown = wanted;
    const [, x = 1, y = 1, z = 1] = this.back?.dims ?? [];
    // Reading back waits until everything before it is done.
    if (x * y * z >= manyVoxels) this.gl.readPixels(0, 0, 1, 1, this.gl.RGBA, this.gl.UNSIGNED_BYTE, new Uint8Array(4));
  }

  override rgbaTex(texture: WebGLTexture | null, unit: number, dims: number[], isInit = false): WebGLTexture | null {
    if (unit !== scanUnit && unit !== masksUnit) return super.rgbaTex(texture, unit, dims, isInit);
    const size = dims.slice(1, 4).join();
    const kept = this.kept.get(unit);
    if (kept?.size === size && !isInit) {
      this.gl.activeTexture(unit);
      this.gl.bindTexture(this.gl.TEXTURE_3D, kept.texture);
      return kept.texture;
    }
    const made = super.rgbaTex(kept?.texture ?? texture, unit, dims, isInit);
    this.kept.set(unit, { texture: made, size });
    return made;
  }

  override rgbaTex2D(...given: Parameters<Niivue['rgbaTex2D']>): WebGLTexture | null {
    this.kept.delete(given[1]);
    return super.rgbaTex2D(...given);
  }

  /** Frees the texture of the scan, once it is no volume any more. */
  freeScan(): void {
    this.shown = [];
    this.volumeTexture = this.rgbaTex(null, scanUnit, emptySize, true);
  }

  /** Frees the texture of the masks, once they are no volumes any more. */
  freeMasks(): void {
    this.overlayTexture = this.rgbaTex(null, masksUnit, emptySize, true);
    this.overlayTextureID = this.overlayTexture;
  }
}
