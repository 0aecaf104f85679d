import type { Triple } from '../volume/volume.js';
import type { DatatypeName } from './nifti-header.js';
import { dataFilesOf, HeaderFaults, type RasterHeader, unitMm } from './raster-header.js';

/**
 * Header of MetaImage files (.mha, .mhd): lines "name = value" of which ElementDataFile is the last
 * (https://itk.org/Wiki/ITK/MetaIO/Documentation). Positions are those of DICOM (LPS), as ITK writes and reads them.
 */

const types: Readonly<Record<string, DatatypeName>> = {
  MET_CHAR: 'int8',
  MET_UCHAR: 'uint8',
  MET_SHORT: 'int16',
  MET_USHORT: 'uint16',
  MET_INT: 'int32',
  MET_UINT: 'uint32',
  MET_LONG_LONG: 'int64',
  MET_ULONG_LONG: 'uint64',
  MET_FLOAT: 'float32',
  MET_DOUBLE: 'float64',
};

const lpsToRas: Triple = [-1, -1, 1];

/** @param text the header with the line of ElementDataFile (for a list, with all that follows); @param headerBytes its length */
export function parseMetaImageHeader(text: string, headerBytes: number, file: string): RasterHeader {
  const faults = new HeaderFaults(file, 'MetaImage');
  const fields = new Map<string, string>();
  const lines = text.split(/\r?\n/);
  let listed: string[] = [];
  for (const [i, line] of lines.entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const field = /^\s*([^=:]+?)\s*[=:]\s*(.*)$/.exec(line);
    if (field === null) throw faults.invalid('header', 'lines of the form "name = value"', line.slice(0, 80));
    // Other programs add fields of their own, and the names of those may occur twice.
    if (fields.has(field[1]!) && /^[A-Z][A-Za-z]+$/.test(field[1]!))
      throw faults.invalid(field[1]!, 'each field once', 'the field a second time');
    fields.set(field[1]!, field[2]!.trim());
    if (field[1] !== 'ElementDataFile') continue;
    listed = lines
      .slice(i + 1)
      .map((name) => name.trim())
      .filter((name) => name !== '');
    break;
  }
  const flag = (name: string): boolean => /^(true|t|1|yes|y)$/i.test(fields.get(name) ?? '');
  const objectType = fields.get('ObjectType');
  if (objectType !== undefined && !/^image$/i.test(objectType))
    throw faults.unsupported('ObjectType', 'Image', objectType, 'Export the volume, not its surfaces or landmarks.');

  const [dimensions] = faults.numbers('NDims', fields.get('NDims'), 1) as [number];
  if (!(Number.isInteger(dimensions) && dimensions >= 3 && dimensions <= 7))
    throw faults.unsupported('NDims', '3 to 7', String(dimensions), 'Save a 3-D volume.');
  const sizes = faults.shape('DimSize', fields.get('DimSize'), dimensions);
  const [channels] = faults.shape('ElementNumberOfChannels', fields.get('ElementNumberOfChannels') ?? '1', 1) as [
    number,
  ];
  const typeName = (fields.get('ElementType') ?? '').toUpperCase().replace(/_ARRAY$/, '');
  const datatype = Object.hasOwn(types, typeName) ? types[typeName] : undefined;
  if (datatype === undefined)
    throw faults.unsupported(
      'ElementType',
      Object.keys(types).join(', '),
      typeName || 'nothing',
      'Save the voxels as such numbers.',
    );
  scaleIsPlain(faults, fields);

  const compressed = flag('CompressedData');
  const isText = fields.has('BinaryData') && !flag('BinaryData');
  const [skip] = faults.numbers('HeaderSize', fields.get('HeaderSize') ?? '0', 1) as [number];
  if (!Number.isSafeInteger(skip) || skip < -1 || (skip !== 0 && (compressed || isText)))
    throw faults.invalid(
      'HeaderSize',
      '-1 or a number of bytes, of voxels that are neither compressed nor text',
      String(skip),
    );
  const named = fields.get('ElementDataFile') || undefined;
  if (named === undefined) throw faults.invalid('ElementDataFile', 'LOCAL or the name of a file', 'nothing');
  const dataFiles = /^local$/i.test(named) ? undefined : dataFilesOf(faults, 'ElementDataFile', named, listed);
  const channelAxis = channels > 1 ? 1 : 0;
  return {
    format: 'MetaImage',
    shape: channelAxis === 1 ? [channels, ...sizes] : sizes,
    spaceAxes: [channelAxis, channelAxis + 1, channelAxis + 2],
    affine: placeOf(faults, fields, dimensions),
    datatype,
    littleEndian: !(flag('BinaryDataByteOrderMSB') || flag('ElementByteOrderMSB')),
    encoding: compressed ? 'compressed' : isText ? 'text' : 'raw',
    ...(dataFiles === undefined ? {} : { dataFiles }),
    headerBytes,
    skipLines: 0,
    skipBytes: skip,
  };
}

/** ITK reads the stored numbers and leaves these fields alone, others apply them: a file that scales is not read by a guess. */
function scaleIsPlain(faults: HeaderFaults, fields: ReadonlyMap<string, string>): void {
  for (const [name, plain] of [
    ['ElementToIntensityFunctionSlope', 1],
    ['ElementToIntensityFunctionOffset', 0],
  ] as const) {
    const text = fields.get(name);
    if (text !== undefined && faults.numbers(name, text, 1)[0] !== plain)
      throw faults.unsupported(name, String(plain), text, 'Save the scaled values.');
  }
}

function placeOf(
  faults: HeaderFaults,
  fields: ReadonlyMap<string, string>,
  dimensions: number,
): RasterHeader['affine'] {
  const numbers = (names: readonly string[], count: number, otherwise: readonly number[]) => {
    const name = names.find((each) => fields.has(each));
    return name === undefined ? otherwise : faults.numbers(name, fields.get(name), count);
  };
  const zeros = Array.from({ length: dimensions }, () => 0);
  const identity = Array.from({ length: dimensions ** 2 }, (_, i) => (i % (dimensions + 1) === 0 ? 1 : 0));
  const mm = unitMm(faults, 'DistanceUnits', fields.get('DistanceUnits') ?? 'mm');
  const spacing = numbers(
    ['ElementSpacing', 'ElementSize'],
    dimensions,
    zeros.map(() => 1),
  );
  const origin = numbers(['Offset', 'Position', 'Origin'], dimensions, zeros);
  const matrix = numbers(['TransformMatrix', 'Rotation', 'Orientation'], dimensions ** 2, identity);
  const row = (axis: number) => matrix.slice(axis * dimensions, (axis + 1) * dimensions);
  const mixesTime = [0, 1, 2].some((axis) =>
    row(axis)
      .slice(3)
      .some((value) => value !== 0),
  );
  if (mixesTime)
    throw faults.unsupported('TransformMatrix', 'directions within space', matrix.join(' '), 'Save a 3-D volume.');
  const directions = [0, 1, 2].map((axis) => [0, 1, 2].map((i) => row(axis)[i]! * spacing[axis]! * mm));
  return faults.affine(
    'TransformMatrix',
    directions,
    origin.slice(0, 3).map((value) => value * mm),
    lpsToRas,
  );
}
