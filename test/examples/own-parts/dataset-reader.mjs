// A file format and a dataset layout of one's own: NumPy arrays (.npy), one folder per patient with image.npy and, where there
// is a label, label.npy. The spacing stands in the folder's spacing.json as [x, y, z] in millimetres.
//
//     versemi plan data/patients --parts dataset-reader.mjs --out plan.json
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

const arrayTypes = {
  '|u1': Uint8Array,
  '|i1': Int8Array,
  '<u2': Uint16Array,
  '<i2': Int16Array,
  '<i4': Int32Array,
  '<f4': Float32Array,
  '<f8': Float64Array,
};

/** An array [z, y, x] in C order, as `numpy.save` writes it: x is then the fastest axis, as versemi wants it. */
function parseNpy(bytes) {
  if (bytes.toString('latin1', 0, 6) !== '\x93NUMPY') throw new Error('no NumPy file');
  const wide = bytes[6] > 1;
  const start = (wide ? 12 : 10) + (wide ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8));
  const header = bytes.toString('latin1', wide ? 12 : 10, start);
  const type = arrayTypes[/'descr': '([^']+)'/.exec(header)?.[1]];
  const shape = /'shape': \(([\d, ]+)\)/
    .exec(header)?.[1]
    .split(',')
    .filter((part) => part.trim() !== '')
    .map(Number);
  if (type === undefined || shape?.length !== 3 || !header.includes("'fortran_order': False"))
    throw new Error(`not an array of three axes in C order, of a known type: ${header.trim()}`);
  const [z, y, x] = shape;
  if (bytes.length - start !== x * y * z * type.BYTES_PER_ELEMENT)
    throw new Error(`${bytes.length} bytes for [${shape}]`);
  // A copy, since the voxels may begin at an odd byte of the file.
  return {
    data: new type(bytes.buffer.slice(bytes.byteOffset + start, bytes.byteOffset + bytes.length)),
    sizeVoxels: [x, y, z],
  };
}

const npy = {
  name: 'npy',
  endings: ['.npy'],
  read: async (file, { spacingMm = [1, 1, 1] }) => ({ ...parseNpy(await readFile(file)), spacingMm }),
};

const patients = {
  name: 'patients',
  matches: (folder) => existsSync(join(folder, 'spacing.json')),
  async cases(folder) {
    const entries = await readdir(folder, { withFileTypes: true });
    const cases = entries
      .filter((entry) => entry.isDirectory() && existsSync(join(folder, entry.name, 'image.npy')))
      .map(({ name }) => {
        const [image, label] = ['image.npy', 'label.npy'].map((file) => join(folder, name, file));
        return { id: name, image, ...(existsSync(label) ? { label } : {}) };
      });
    return { cases, test: [], spacingMm: JSON.parse(await readFile(join(folder, 'spacing.json'), 'utf8')) };
  },
};

/** @type {import('versemi').Parts} */
export const parts = { formats: [npy], layouts: [patients] };
