import { host, type PackedMask } from '../wasm/host.js';

/**
 * Keeps of each mask its largest connected component (26 neighbours).
 * @param bodies indices of masks of one body, each mask in one body at most: of these masks only what lies in the largest component of
 *   their union comes into question. A spot that one structure has far from the organ may be larger than what the organ shows of the
 *   structure; it is not larger than the organ (the order in which nnU-Net's post-processing tries it: Isensee et al., Nature Methods 2021)
 */
export function largestComponents(
  masks: readonly PackedMask[],
  bodies: readonly (readonly number[])[] = [],
): PackedMask[] {
  // One array for all of them: as garbage they would add up.
  let bytes: Uint8Array | undefined;
  const largest = (mask: PackedMask): PackedMask => {
    const { sizeVoxels } = mask;
    bytes = host().unpackMask(mask, undefined, bytes);
    return host().packMask(host().largestComponent(bytes, sizeVoxels, undefined, bytes), sizeVoxels);
  };
  const inBody = [...masks];
  for (const body of bodies) {
    // One mask is its own union.
    if (body.length < 2) continue;
    const { sizeVoxels, bits: first } = masks[body[0]!]!;
    const union = { sizeVoxels, bits: first.slice() };
    for (const index of body.slice(1)) combine(union.bits, masks[index]!.bits, (a, b) => a | b);
    const organ = largest(union);
    for (const index of body) {
      const bits = masks[index]!.bits.slice();
      combine(bits, organ.bits, (a, b) => a & b);
      inBody[index] = { sizeVoxels, bits };
    }
  }
  return inBody.map(largest);
}

function combine(bits: Uint8Array, others: Uint8Array, by: (a: number, b: number) => number): void {
  for (let i = 0; i < bits.length; i++) bits[i] = by(bits[i]!, others[i]!);
}
