import { voxelVolumeMm3 } from '../volume/affine.js';
import { type Geometry, wayBack } from '../volume/orientation.js';
import type { Affine, HeaderForms, Triple, Volume } from '../volume/volume.js';
import { host, type PackedMask } from '../wasm/host.js';
import { turnedSlab } from './scan.js';

/** Slices of the file that are made at a time. */
const slabSlices = 64;

/**
 * A mask, 0 and 1, that lies in memory as bits (an eighth of its bytes), in the geometry in which its source was stored.
 * `data` makes a new array of bytes each time it is read: keep that array. `writeNifti` takes the mask slab by slab and never
 * holds all of its bytes.
 */
export class MaskVolume implements Volume<Uint8Array> {
  /** Size of the source as it was stored; likewise the spacing and the affine. */
  readonly sizeVoxels: Triple;
  readonly spacingMm: Triple;
  readonly affine: Affine;
  readonly forms?: HeaderForms;

  /**
   * @param canonical geometry of the source's canonical grid; `stored` is absent where the source was stored on that grid
   * @param packed the mask on the canonical grid
   */
  constructor(
    private readonly canonical: Geometry,
    readonly packed: PackedMask,
  ) {
    const { sizeVoxels, spacingMm, affine, forms } = canonical.stored ?? canonical;
    this.sizeVoxels = sizeVoxels;
    this.spacingMm = spacingMm;
    this.affine = affine;
    if (forms !== undefined) this.forms = forms;
  }

  /** Number of voxels inside the mask. */
  count(): number {
    return host().countMask(this.packed);
  }

  /** Millilitres of a voxel, also where the axes are sheared (gantry tilt). */
  get voxelMl(): number {
    return voxelVolumeMm3(this) / 1000;
  }

  /** On the canonical grid (RAS+), [z, y, x]. */
  toCanonical(): Volume<Uint8Array> {
    return { ...this.canonical, data: host().unpackMask(this.packed) };
  }

  get data(): Uint8Array {
    const [sizeX, sizeY, sizeZ] = this.sizeVoxels;
    const data = new Uint8Array(sizeX * sizeY * sizeZ);
    let at = 0;
    for (const slab of this.slabs()) {
      data.set(slab, at);
      at += slab.length;
    }
    return data;
  }

  /** An empty array of the voxels' type, which `writeNifti` asks for before there is a slab. */
  get type(): Uint8Array {
    return new Uint8Array(0);
  }

  /** The voxels of `data`, a few slices [z, y, x] at a time. */
  *slabs(): Generator<Uint8Array> {
    const { packed } = this;
    const depth = this.sizeVoxels[2];
    const way = this.canonical.stored === undefined ? undefined : wayBack(this.canonical.stored);
    for (let begin = 0; begin < depth; begin += slabSlices) {
      const end = Math.min(depth, begin + slabSlices);
      if (way === undefined) yield host().unpackMask(packed, { begin: [0, 0, begin], end: [...xy(packed), end] });
      else yield turnedSlab(packed.sizeVoxels, way, begin, end, (box) => host().unpackMask(packed, box)) as Uint8Array;
    }
  }
}

function xy({ sizeVoxels }: PackedMask): [number, number] {
  return [sizeVoxels[0], sizeVoxels[1]];
}
