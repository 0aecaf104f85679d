import { crc32 as signed, crc32c as signedC } from '#crc';

/** Cyclic redundancy checks of 32 bits. Node's own is no choice: pages check and write files too. */

/** CRC-32 of ISO 3309: zip, gzip. */
export function crc32(bytes: Uint8Array): number {
  return signed(bytes) >>> 0;
}

/** CRC-32C (Castagnoli, RFC 3720 B.4): TensorBoard's files. */
export function crc32c(bytes: Uint8Array): number {
  return signedC(bytes) >>> 0;
}
