/** Cyclic redundancy checks of 32 bits, lowest bit first. Node's own is no choice: pages check and write files too. */

function tableOf(polynomial: number): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, byte) => {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1;
    return value;
  });
}

function checksum(bytes: Uint8Array, table: Uint32Array): number {
  let value = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) value = table[(value ^ bytes[i]!) & 0xff]! ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

const ofIso = tableOf(0xedb88320);
const ofCastagnoli = tableOf(0x82f63b78);

/** CRC-32 of ISO 3309: PNG, zip, gzip. */
export function crc32(bytes: Uint8Array): number {
  return checksum(bytes, ofIso);
}

/** CRC-32C (Castagnoli, RFC 3720 B.4): TensorBoard's files. */
export function crc32c(bytes: Uint8Array): number {
  return checksum(bytes, ofCastagnoli);
}
