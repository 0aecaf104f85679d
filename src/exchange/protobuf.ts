/**
 * The wire format of protocol buffers (https://protobuf.dev/programming-guides/encoding/), as far as ONNX needs it: three kinds of
 * fields. A message is the list of its fields, one after the other.
 */

/** Bytes that are written one after the other; nothing is copied before the end. */
export type Parts = readonly Uint8Array[];

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt(value);
  do {
    const low = Number(rest & 127n);
    rest >>= 7n;
    bytes.push(rest > 0n ? low | 128 : low);
  } while (rest > 0n);
  return Uint8Array.from(bytes);
}

const tag = (field: number, kind: number) => varint((field << 3) | kind);

/** @param value a whole number of at least 0 */
export function integer(field: number, value: number): Parts {
  return [tag(field, 0), varint(value)];
}

export function float(field: number, value: number): Parts {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return [tag(field, 5), bytes];
}

export function bytes(field: number, content: Uint8Array | string): Parts {
  const raw = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  return [tag(field, 2), varint(raw.length), raw];
}

export function message(field: number, fields: readonly Parts[]): Parts {
  const parts = fields.flat();
  return [tag(field, 2), varint(parts.reduce((sum, { length }) => sum + length, 0)), ...parts];
}
