// What the compiler made of every CUDA kernel: registers, stack (spills and arrays that went to memory), shared memory, and the
// instructions that matter, as a table or, with --json, as a list. Reads the intermediate files that
// `nvcc --keep --keep-dir FOLDER` leaves; needs no GPU and no CUDA tools.
//   node native/cuda/resources.mjs [--json] [--architecture 90a] FOLDER
// Registers and stack come from the machine code (ELF files *.cubin), instructions from the PTX beside it, of which the
// assembler translates mma.sync, wgmma, cp.async and the bulk copies one to one.

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Attributes in the section .nv.info of a cubin that are (symbol, value) pairs. */
const attributes = new Map([
  [0x2f, 'registers'],
  [0x11, 'frameBytes'],
  [0x12, 'stackBytes'],
]);

const instructions = {
  mma: /\bmma\.sync\.aligned/g,
  wgmma: /\bwgmma\.mma_async/g,
  ldmatrix: /\bldmatrix\.sync/g,
  copyAsync: /\bcp\.async\.c[ag]\.shared/g,
  bulkCopy: /\bcp\.async\.bulk\.(?:tensor|shared)/g,
  localMemory: /\b(?:ld|st)\.local\b/g,
};

/** Kernels of one cubin: mangled name -> { registers, frameBytes, stackBytes, sharedBytes }. */
export function readCubin(file) {
  const bytes = readFileSync(file);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const long = (at) => Number(view.getBigUint64(at, true));
  const text = (at) => bytes.subarray(at, bytes.indexOf(0, at)).toString();
  const [tableAt, entryBytes, count, namesIndex] = [
    long(0x28),
    view.getUint16(0x3a, true),
    view.getUint16(0x3c, true),
    view.getUint16(0x3e, true),
  ];
  const sections = Array.from({ length: count }, (_, i) => {
    const at = tableAt + i * entryBytes;
    return {
      name: view.getUint32(at, true),
      type: view.getUint32(at + 4, true),
      at: long(at + 24),
      bytes: long(at + 32),
      link: view.getUint32(at + 40, true),
      entryBytes: long(at + 56),
    };
  });
  for (const section of sections) section.name = text(sections[namesIndex].at + section.name);
  const symbols = sections.find(({ type }) => type === 2);
  const info = sections.find(({ name }) => name === '.nv.info');
  const kernels = new Map();
  if (symbols === undefined || info === undefined) return kernels;
  const symbolName = (i) => text(sections[symbols.link].at + view.getUint32(symbols.at + i * symbols.entryBytes, true));
  for (let at = info.at; at < info.at + info.bytes; ) {
    const [format, attribute, size] = [bytes[at], bytes[at + 1], view.getUint16(at + 2, true)];
    at += 4;
    if (format !== 4) continue; // the value stands in the two bytes of the size
    const field = attributes.get(attribute);
    if (field !== undefined) {
      const name = symbolName(view.getUint32(at, true));
      const kernel = kernels.get(name) ?? { registers: 0, frameBytes: 0, stackBytes: 0, sharedBytes: 0 };
      kernel[field] = view.getUint32(at + 4, true);
      kernels.set(name, kernel);
    }
    at += size;
  }
  for (const [name, kernel] of kernels) {
    kernel.sharedBytes = sections.find((section) => section.name === `.nv.shared.${name}`)?.bytes ?? 0;
    if (!sections.some((section) => section.name === `.text.${name}`)) kernels.delete(name);
  }
  return kernels;
}

/** Mangled name of each entry of a PTX file -> how often the instructions occur in it. */
export function readPtx(file) {
  const [, ...entries] = readFileSync(file, 'utf8').split(/^(?:\.visible |\.weak )?\.entry /m);
  return new Map(
    entries.map((entry) => [
      entry.slice(0, entry.indexOf('(')),
      Object.fromEntries(
        Object.entries(instructions).map(([name, pattern]) => [name, entry.match(pattern)?.length ?? 0]),
      ),
    ]),
  );
}

/** One row per kernel and architecture of everything in a folder, sorted by file. */
export function readResources(folder) {
  const rows = [];
  for (const file of readdirSync(folder).sort()) {
    const match = /^(.+)\.(?:compute|sm)_(\d+a?)\.cubin$/.exec(file);
    if (match === null) continue;
    const [, source, architecture] = match;
    const ptx = readPtx(join(folder, file.replace(/\.cubin$/, '.ptx')));
    for (const [mangled, resources] of readCubin(join(folder, file)))
      rows.push({ source, architecture, mangled, ...resources, ...ptx.get(mangled) });
  }
  const names = demangle(rows.map(({ mangled }) => mangled));
  return rows.map(({ mangled, ...row }, i) => ({ kernel: names[i] ?? mangled, ...row }));
}

/** Names as they stand in the source, where binutils are there. */
function demangle(names) {
  const { status, stdout } = spawnSync('c++filt', ['--no-params'], { input: names.join('\n'), encoding: 'utf8' });
  if (status !== 0) return names;
  return stdout
    .split('\n')
    .map((name) => name.replaceAll('versemi::cuda::', '').replaceAll('(anonymous namespace)::', ''));
}

function print(rows) {
  const columns = [
    'source',
    'kernel',
    'architecture',
    'registers',
    'frameBytes',
    'sharedBytes',
    ...Object.keys(instructions),
  ];
  const cells = rows.map((row) => columns.map((column) => String(row[column] ?? 0)));
  const widths = columns.map((column, i) => Math.max(column.length, ...cells.map((row) => row[i].length)));
  const line = (row) => row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ');
  console.log([line(columns), ...cells.map(line)].join('\n'));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const args = process.argv.slice(2);
  const at = args.indexOf('--architecture');
  const architecture = at < 0 ? undefined : args.splice(at, 2)[1];
  const json = args.includes('--json');
  const folder = args.find((arg) => !arg.startsWith('--'));
  if (folder === undefined) {
    console.error('node native/cuda/resources.mjs [--json] [--architecture 90a] FOLDER');
    process.exit(2);
  }
  const rows = readResources(folder).filter((row) => architecture === undefined || row.architecture === architecture);
  if (json) console.log(JSON.stringify(rows, null, 2));
  else print(rows);
}
