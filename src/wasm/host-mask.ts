import type { Triple } from '../volume/volume.js';
import { checkLength, chunkElements, type HostCore } from './host-core.js';
import type { Box } from './host-volume.js';

/** A mask as bits: an eighth of its bytes. Rows begin at whole bytes, the first voxel is the lowest bit. */
export interface PackedMask {
  readonly sizeVoxels: Triple;
  readonly bits: Uint8Array;
}

export function rowBytesOf({ sizeVoxels }: PackedMask): number {
  return Math.ceil(sizeVoxels[0] / 8);
}

/** All 0. */
export function emptyMask(sizeVoxels: Triple): PackedMask {
  const [sizeX, sizeY, sizeZ] = sizeVoxels;
  return { sizeVoxels, bits: new Uint8Array(Math.ceil(sizeX / 8) * sizeY * sizeZ) };
}

export function maskOperations({ wasm, memory, run }: HostCore) {
  /** @param mask [z, y, x], nonzero = inside */
  function packMask(mask: Uint8Array, sizeVoxels: Triple): PackedMask {
    checkLength(mask, sizeVoxels, 'mask');
    const [sizeX, sizeY, sizeZ] = sizeVoxels;
    const packed = emptyMask(sizeVoxels);
    const bytes = rowBytesOf(packed) * sizeY;
    run((scope) => {
      const [slice, bits] = [scope.allocate(sizeX * sizeY), scope.allocate(bytes)];
      for (let z = 0; z < sizeZ; z++) {
        memory.uint8(slice, sizeX * sizeY).set(mask.subarray(z * sizeX * sizeY, (z + 1) * sizeX * sizeY));
        wasm.packRows(slice, sizeX, sizeY, bits);
        packed.bits.set(memory.uint8(bits, bytes), z * bytes);
      }
    });
    return packed;
  }

  /** Bytes 0 or 1, [z, y, x]. @param box part of the mask; default: all of it. @param into default: a new array */
  function unpackMask(
    mask: PackedMask,
    box: Box = { begin: [0, 0, 0], end: mask.sizeVoxels },
    into?: Uint8Array,
  ): Uint8Array {
    const { begin, end } = box;
    const [sizeX, sizeY] = mask.sizeVoxels;
    const size = end.map((last, axis) => last - begin[axis]!) as unknown as Triple;
    const bytes = rowBytesOf(mask) * sizeY;
    const plane = size[0] * size[1];
    const output = into ?? new Uint8Array(plane * size[2]);
    checkLength(output, size, 'unpackMask into');
    run((scope) => {
      const [bits, slice, part] = [scope.allocate(bytes), scope.allocate(sizeX * sizeY), scope.allocate(plane)];
      for (let z = begin[2]; z < end[2]; z++) {
        memory.uint8(bits, bytes).set(mask.bits.subarray(z * bytes, (z + 1) * bytes));
        wasm.unpackRows(bits, sizeX, sizeY, slice);
        wasm.copyRows(slice + begin[1] * sizeX + begin[0], sizeX, part, size[0], size[0], size[1]);
        output.set(memory.uint8(part, plane), (z - begin[2]) * plane);
      }
    });
    return output;
  }

  /** Number of voxels inside. */
  function countMask({ bits }: PackedMask): number {
    return run((scope) => {
      const block = scope.allocate(chunkElements);
      let count = 0;
      for (let from = 0; from < bits.length; from += chunkElements) {
        const part = bits.subarray(from, from + chunkElements);
        memory.uint8(block, part.length).set(part);
        count += wasm.countBits(block, part.length);
      }
      return count;
    });
  }

  return { packMask, unpackMask, countMask };
}
