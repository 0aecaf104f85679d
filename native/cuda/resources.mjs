// What the compiler made of every CUDA kernel: registers, stack (spills and arrays that went to memory), shared memory, and the
// instructions that matter, as a table or, with --json, as a list. Reads the machine code that lies in the addon, or in an
// object file or library, as it was built; needs no GPU and no CUDA tools.
//   node native/cuda/resources.mjs [--json] [--architecture 90a] [FILE, default build/Release/versemi.node]
// Registers, stack and threads come from the section .nv.info of each ELF image, instructions from the opcodes in its .text
// sections. CMakeLists.txt keeps nvcc from compressing the images.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const fatbinMagic = 0xba55ed50;
const imageKinds = { ptx: 1, elf: 2 };
/** Bits of an image's flags: for one architecture only ("90a"), compressed. */
const specific = 0x100000n;
const compressed = 0xe000n;

/** Attributes in the section .nv.info of an image that are (symbol, value) pairs. */
const attributes = new Map([
  [0x2f, 'registers'],
  [0x11, 'frameBytes'],
]);
/** Attribute of .nv.info.KERNEL: threads along x, y, z that __launch_bounds__ allows. */
const maxThreads = 0x05;

/**
 * Lower nine bits of the 16-byte instructions of compute capability 8.0 to 9.0 (the bits above them are the kinds of operands).
 * NVIDIA documents their names only; the numbers were read off kernels that contain one of them each, and
 * test/ops/cuda-resources.test.ts compiles such kernels again (native/cuda/test/instruction_probe.cu).
 */
const opcodes = {
  mma: [0x03c], // HMMA: mma.sync
  wgmma: [0x1f0], // HGMMA: wgmma.mma_async
  ldmatrix: [0x03b], // LDSM
  copyAsync: [0x1ae], // LDGSTS: cp.async
  bulkCopy: [0x1b4, 0x1b5, 0x1ba], // UTMALDG, UTMASTG, UBLKCP: cp.async.bulk
  localMemory: [0x183, 0x187], // LDL, STL
  atomics: [0x18a, 0x18c, 0x18d, 0x18e, 0x1a3, 0x1a6, 0x1a8, 0x1a9], // ATOM, ATOMS, RED, ATOMG, REDG, and compare-and-swap
};
const instructionBytes = 16;

/** Images in a file: { kind, architecture, bytes }. */
function imagesOf(file) {
  const bytes = readFileSync(file);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = Buffer.alloc(4);
  magic.writeUInt32LE(fatbinMagic);
  const images = [];
  for (let start = bytes.indexOf(magic); start >= 0; start = bytes.indexOf(magic, start + 4)) {
    const headerBytes = view.getUint16(start + 6, true);
    // The number also stands where the runtime registers the images, with an address behind it.
    if (headerBytes !== 16) continue;
    const end = start + headerBytes + Number(view.getBigUint64(start + 8, true));
    for (let at = start + headerBytes; at < end; ) {
      const [kind, entryBytes] = [view.getUint16(at, true), view.getUint32(at + 4, true)];
      const size = Number(view.getBigUint64(at + 8, true));
      const flags = view.getBigUint64(at + 40, true);
      const architecture = `${view.getUint32(at + 28, true)}${flags & specific ? 'a' : ''}`;
      if (kind === imageKinds.elf && flags & compressed)
        throw new Error(`${file}: the image for sm_${architecture} is compressed; build it with nvcc --no-compress`);
      images.push({ kind, architecture, bytes: bytes.subarray(at + entryBytes, at + entryBytes + size) });
      at += entryBytes + size;
    }
  }
  return images;
}

function sectionsOf(image) {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const long = (at) => Number(view.getBigUint64(at, true));
  const [tableAt, entryBytes] = [long(0x28), view.getUint16(0x3a, true)];
  const [count, namesIndex] = [view.getUint16(0x3c, true), view.getUint16(0x3e, true)];
  const noBits = 8;
  const sections = Array.from({ length: count }, (_, i) => {
    const at = tableAt + i * entryBytes;
    const [type, from, size] = [view.getUint32(at + 4, true), long(at + 24), long(at + 32)];
    const bytes = image.subarray(from, type === noBits ? from : from + size);
    return { nameAt: view.getUint32(at, true), type, size, bytes, link: view.getUint32(at + 40, true) };
  });
  return sections.map((section) => ({ ...section, name: textAt(sections[namesIndex].bytes, section.nameAt) }));
}

function textAt(bytes, at) {
  return bytes.subarray(at, bytes.indexOf(0, at)).toString();
}

/** Calls visit(attribute, value) for the attributes of a section .nv.info that have a value of their own. */
function readInfo({ bytes }, visit) {
  for (let at = 0; at + 4 <= bytes.length; ) {
    const [format, attribute, size] = [bytes[at], bytes[at + 1], bytes.readUInt16LE(at + 2)];
    at += 4;
    if (format !== 4) continue; // the value stands in the two bytes of the size
    visit(attribute, bytes.subarray(at, at + size));
    at += size;
  }
}

/** Kernels of one image: mangled name -> registers, frameBytes, sharedBytes (static), threads, instructions. */
function kernelsOf(image) {
  const sections = sectionsOf(image);
  const find = (name) => sections.find((section) => section.name === name);
  const symbols = sections.find(({ type }) => type === 2);
  const info = find('.nv.info');
  const kernels = new Map();
  if (symbols === undefined || info === undefined) return kernels;
  const symbolBytes = 24;
  const symbolName = (i) => textAt(sections[symbols.link].bytes, symbols.bytes.readUInt32LE(i * symbolBytes));
  readInfo(info, (attribute, value) => {
    const field = attributes.get(attribute);
    if (field === undefined) return;
    const name = symbolName(value.readUInt32LE(0));
    kernels.set(name, { registers: 0, frameBytes: 0, ...kernels.get(name), [field]: value.readUInt32LE(4) });
  });
  for (const [name, kernel] of kernels) {
    const code = find(`.text.${name}`);
    const own = find(`.nv.info.${name}`);
    if (code === undefined || own === undefined) {
      kernels.delete(name);
      continue;
    }
    kernel.sharedBytes = find(`.nv.shared.${name}`)?.size ?? 0;
    kernel.threads = 0;
    readInfo(own, (attribute, value) => {
      if (attribute === maxThreads)
        kernel.threads = value.readUInt32LE(0) * value.readUInt32LE(4) * value.readUInt32LE(8);
    });
    Object.assign(kernel, countInstructions(code.bytes));
  }
  return kernels;
}

function countInstructions(code) {
  const counts = new Uint32Array(512);
  for (let at = 0; at < code.length; at += instructionBytes) counts[code.readUInt16LE(at) & 511]++;
  return Object.fromEntries(
    Object.entries(opcodes).map(([name, codes]) => [name, codes.reduce((sum, each) => sum + counts[each], 0)]),
  );
}

/** Blocks that the 65,536 registers of a multiprocessor hold, given out to warps in units of 256. */
function blocksByRegisters({ registers, threads }) {
  if (registers === 0 || threads === 0) return 0;
  return Math.floor(65536 / (Math.ceil((registers * 32) / 256) * 256 * Math.ceil(threads / 32)));
}

/** One row per kernel and architecture of everything in a file, by name. */
export function readResources(file) {
  const images = imagesOf(file).filter(({ kind }) => kind === imageKinds.elf);
  const rows = images.flatMap(({ architecture, bytes }) =>
    [...kernelsOf(bytes)].map(([mangled, kernel]) => ({
      mangled,
      architecture,
      ...kernel,
      blocksByRegisters: blocksByRegisters(kernel),
    })),
  );
  const names = demangle(rows.map(({ mangled }) => mangled));
  return rows
    .map((row, i) => ({ kernel: names[i], ...row }))
    .sort((a, b) => a.kernel.localeCompare(b.kernel) || a.architecture.localeCompare(b.architecture));
}

/** Names as they stand in the source, where binutils are there. */
function demangle(names) {
  const { status, stdout } = spawnSync('c++filt', ['--no-params'], {
    input: names.join('\n'),
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (status !== 0) return names;
  return stdout.split('\n').map((name) =>
    name
      .replace(/^void /, '')
      .replaceAll('versemi::cuda::', '')
      .replaceAll('(anonymous namespace)::', ''),
  );
}

function print(rows) {
  const columns = [
    'kernel',
    'architecture',
    'registers',
    'frameBytes',
    'sharedBytes',
    'threads',
    'blocksByRegisters',
    ...Object.keys(opcodes),
  ];
  const cells = rows.map((row) => columns.map((column) => String(row[column])));
  const widths = columns.map((column, i) => Math.max(column.length, ...cells.map((row) => row[i].length)));
  const line = (row) => row.map((cell, i) => (i < 1 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ');
  console.log([line(columns), ...cells.map(line)].join('\n'));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const args = process.argv.slice(2);
  const at = args.indexOf('--architecture');
  const architecture = at < 0 ? undefined : args.splice(at, 2)[1];
  const json = args.includes('--json');
  const root = join(fileURLToPath(import.meta.url), '..', '..', '..');
  const file = args.find((arg) => !arg.startsWith('--')) ?? join(root, 'build', 'Release', 'versemi.node');
  const rows = readResources(file).filter((row) => architecture === undefined || row.architecture === architecture);
  if (json) console.log(JSON.stringify(rows, null, 2));
  else print(rows);
}
