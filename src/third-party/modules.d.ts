/** The bundles that have no types of their own; what is used of them is described where it is used. */

declare module '#dicom' {
  // biome-ignore lint/suspicious/noExplicitAny: dcmjs is written in JavaScript.
  export const dcmjs: any;
  // biome-ignore lint/suspicious/noExplicitAny: As above.
  export const codecs: any;
}

declare module '#hdf5' {
  const make: unknown;
  export default make;
}

declare module '#png' {
  export function encode(
    image: { readonly width: number; readonly height: number; readonly data: Uint8Array; readonly channels: number },
    options?: { readonly zlib?: { readonly level?: 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 } },
  ): Uint8Array;
}

declare module '#csv' {
  export function stringify(
    rows: readonly (readonly (string | number)[])[],
    options: {
      readonly record_delimiter: string;
      readonly quoted_match: RegExp;
      readonly cast: { readonly string: (text: string) => string };
    },
  ): string;
  export function parse(
    text: string,
    options: {
      readonly bom: boolean;
      readonly record_delimiter: readonly string[];
      readonly relax_column_count: boolean;
      readonly cast: (cell: string) => string;
    },
  ): string[][];
}

declare module '#crc' {
  export function crc32(bytes: Uint8Array): number;
  export function crc32c(bytes: Uint8Array): number;
}
