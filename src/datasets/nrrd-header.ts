import type { Triple } from '../volume/volume.js';
import type { DatatypeName } from './nifti-header.js';
import { dataFilesOf, HeaderFaults, type RasterEncoding, type RasterHeader, unitMm } from './raster-header.js';

/**
 * Header of NRRD files (http://teem.sourceforge.net/nrrd/format.html, versions 1 to 5). Where the format says nothing of the place
 * of the voxels, the behaviour is that of ITK.
 */

const types: Readonly<Record<string, DatatypeName>> = {
  'signed char': 'int8',
  int8: 'int8',
  int8_t: 'int8',
  uchar: 'uint8',
  'unsigned char': 'uint8',
  uint8: 'uint8',
  uint8_t: 'uint8',
  short: 'int16',
  'short int': 'int16',
  'signed short': 'int16',
  'signed short int': 'int16',
  int16: 'int16',
  int16_t: 'int16',
  ushort: 'uint16',
  'unsigned short': 'uint16',
  'unsigned short int': 'uint16',
  uint16: 'uint16',
  uint16_t: 'uint16',
  int: 'int32',
  'signed int': 'int32',
  int32: 'int32',
  int32_t: 'int32',
  uint: 'uint32',
  'unsigned int': 'uint32',
  uint32: 'uint32',
  uint32_t: 'uint32',
  longlong: 'int64',
  'long long': 'int64',
  'long long int': 'int64',
  'signed long long': 'int64',
  'signed long long int': 'int64',
  int64: 'int64',
  int64_t: 'int64',
  ulonglong: 'uint64',
  'unsigned long long': 'uint64',
  'unsigned long long int': 'uint64',
  uint64: 'uint64',
  uint64_t: 'uint64',
  float: 'float32',
  double: 'float64',
};

const encodings: Readonly<Record<string, RasterEncoding>> = {
  raw: 'raw',
  gz: 'compressed',
  gzip: 'compressed',
  txt: 'text',
  text: 'text',
  ascii: 'text',
  hex: 'hex',
};

/** Signs that turn the axes of a space into those of RAS+. */
const spaces: Readonly<Record<string, Triple>> = {
  'right-anterior-superior': [1, 1, 1],
  ras: [1, 1, 1],
  'left-anterior-superior': [-1, 1, 1],
  las: [-1, 1, 1],
  'left-posterior-superior': [-1, -1, 1],
  lps: [-1, -1, 1],
};

/** Axes that hold no place: colours, vectors, tensors, time, lists. */
const otherKinds =
  /^(time|list|point|vector|covariant-vector|normal|stub|scalar|complex|.*(color|vector|matrix|gradient|normal|quaternion).*)$/i;

/** @param text the header, from the magic to the empty line or the end of the file; @param headerBytes its length in the file */
export function parseNrrdHeader(text: string, headerBytes: number, file: string): RasterHeader {
  const faults = new HeaderFaults(file, 'NRRD');
  const lines = text.split(/\r?\n/);
  const version = /^NRRD000([1-5])\s*$/.exec(lines[0] ?? '');
  if (version === null) throw faults.invalid('magic', 'NRRD0001 to NRRD0005', (lines[0] ?? '').slice(0, 20));
  const fields = new Map<string, string>();
  const listed: string[] = [];
  let inList = false;
  for (const line of lines.slice(1)) {
    if (line.startsWith('#') || line.trim() === '') continue;
    if (inList) {
      listed.push(line.trim());
      continue;
    }
    // Pairs of key and value belong to the program that wrote them.
    const field = /^([^:=]+): (.*)$/.exec(line) ?? /^([^:=]+):\s*(.*)$/.exec(line);
    if (/^[^:]*:=/.test(line)) continue;
    if (field === null) throw faults.invalid('header', 'lines of the form "field: value"', line.slice(0, 80));
    const name = normal(field[1]!);
    if (fields.has(name)) throw faults.invalid(name, 'each field once', 'the field a second time');
    fields.set(name, field[2]!.trim());
    inList = name === 'data file' && /^LIST\b/.test(field[2]!);
  }
  const required = (name: string): string => {
    const value = fields.get(name);
    if (value === undefined) throw faults.invalid(name, 'the field', 'none');
    return value;
  };

  const [dimension] = faults.numbers('dimension', required('dimension'), 1) as [number];
  if (!(Number.isInteger(dimension) && dimension >= 1 && dimension <= 16))
    throw faults.invalid('dimension', '1 to 16', String(dimension));
  const shape = faults.shape('sizes', required('sizes'), dimension);
  const datatype = oneOf(types, required('type'));
  if (datatype === undefined)
    throw faults.unsupported('type', 'an integer or float type', required('type'), 'Save the voxels as numbers.');
  const encoding = oneOf(encodings, required('encoding'));
  if (encoding === undefined) {
    const remedy = 'Save the file with the encoding gzip or raw, for example with 3D Slicer or unu.';
    throw faults.unsupported('encoding', 'raw, gzip, text or hex', required('encoding'), remedy);
  }
  const endian = fields.get('endian')?.toLowerCase();
  const isWide = !/int8/.test(datatype) && (encoding === 'raw' || encoding === 'compressed' || encoding === 'hex');
  if (isWide && endian !== 'little' && endian !== 'big')
    throw faults.invalid('endian', 'little or big', endian ?? 'nothing');

  const skip = (name: string, least: number) => {
    const [value] = faults.numbers(name, fields.get(name) ?? '0', 1) as [number];
    if (!Number.isSafeInteger(value) || value < least)
      throw faults.invalid(name, `a whole number of at least ${least}`, String(value));
    return value;
  };
  const skipBytes = skip('byte skip', encoding === 'raw' ? -1 : 0);
  const named = fields.get('data file');
  const dataFiles = named === undefined ? undefined : dataFilesOf(faults, 'data file', named, listed);
  return {
    format: 'NRRD',
    shape,
    ...placeOf(faults, fields, shape),
    datatype,
    littleEndian: endian !== 'big',
    encoding,
    ...(dataFiles === undefined ? {} : { dataFiles }),
    headerBytes,
    skipLines: skip('line skip', 0),
    skipBytes,
  };
}

/** Names of fields are compared without regard to case, and some are written in two ways. */
function normal(name: string): string {
  const lower = name.trim().toLowerCase();
  const one: Readonly<Record<string, string>> = {
    datafile: 'data file',
    lineskip: 'line skip',
    byteskip: 'byte skip',
    axismins: 'axis mins',
    'sample units': 'sample units',
  };
  return Object.hasOwn(one, lower) ? one[lower]! : lower;
}

function oneOf<Value>(table: Readonly<Record<string, Value>>, name: string): Value | undefined {
  const key = name.toLowerCase().replace(/\s+/g, ' ');
  return Object.hasOwn(table, key) ? table[key] : undefined;
}

/** Which axes are those of space, and where their voxels lie. */
function placeOf(
  faults: HeaderFaults,
  fields: ReadonlyMap<string, string>,
  shape: readonly number[],
): Pick<RasterHeader, 'spaceAxes' | 'affine'> {
  const space = fields.get('space');
  const toRas = space === undefined ? spaces.lps! : oneOf(spaces, space);
  if (toRas === undefined) {
    const remedy = 'Convert the volume to a space of the patient, for example with 3D Slicer.';
    throw faults.unsupported('space', 'LPS, RAS or LAS', space!, remedy);
  }
  const directions = directionsOf(faults, fields.get('space directions'), shape);
  const kinds = fields.get('kinds')?.match(/\S+/g);
  if (kinds !== undefined && kinds !== null && kinds.length !== shape.length)
    throw faults.invalid('kinds', `${shape.length} words`, fields.get('kinds')!);
  const axes = shape
    .map((_, axis) => axis)
    .filter((axis) =>
      directions === undefined ? !otherKinds.test(kinds?.[axis] ?? '') : directions[axis] !== undefined,
    );
  if (axes.length !== 3)
    throw faults.unsupported(
      'sizes',
      'three axes of space',
      `${axes.length} of ${shape.length} axes`,
      'Save a 3-D volume.',
    );
  const spaceAxes = axes as unknown as Triple;
  const units = (fields.get('space units')?.match(/"[^"]*"/g) ?? []).map((unit) =>
    unitMm(faults, 'space units', unit.slice(1, -1)),
  );
  const mm = (vector: readonly number[]) => vector.map((value, i) => value * (units[i] ?? 1));
  if (directions !== undefined) {
    const origin = fields.has('space origin')
      ? vectorOf(faults, 'space origin', fields.get('space origin')!)
      : [0, 0, 0];
    const along = axes.map((axis) => mm(directions[axis]!));
    return { spaceAxes, affine: faults.affine('space directions', along, mm(origin), toRas) };
  }
  const perAxis = (name: string, otherwise: number) => {
    const words = fields.get(name)?.trim().split(/\s+/);
    if (words !== undefined && words.length !== shape.length)
      throw faults.invalid(name, `${shape.length} numbers`, fields.get(name)!);
    return axes.map((axis) => {
      const word = words?.[axis];
      return word === undefined || /^nan$/i.test(word) ? otherwise : faults.numbers(name, word, 1)[0]!;
    });
  };
  const spacing = perAxis('spacings', 1).map(Math.abs);
  const along = spacing.map((length, i) => [0, 1, 2].map((j) => (i === j ? length : 0)));
  return { spaceAxes, affine: faults.affine('spacings', along, perAxis('axis mins', 0), toRas) };
}

/** One vector per axis; undefined for an axis that has none. */
function directionsOf(
  faults: HeaderFaults,
  text: string | undefined,
  shape: readonly number[],
): (readonly number[] | undefined)[] | undefined {
  if (text === undefined) return undefined;
  const words = text.match(/none|\([^)]*\)/g) ?? [];
  if (words.length !== shape.length || text.replace(/none|\([^)]*\)/g, '').trim() !== '')
    throw faults.invalid('space directions', `${shape.length} vectors or "none"`, text);
  return words.map((word) => (word === 'none' ? undefined : vectorOf(faults, 'space directions', word)));
}

function vectorOf(faults: HeaderFaults, field: string, text: string): readonly number[] {
  const inside = /^\(([^)]*)\)$/.exec(text.trim());
  if (inside === null) throw faults.invalid(field, 'a vector (x,y,z)', text);
  return faults.numbers(field, inside[1]!.replaceAll(',', ' '), 3);
}
