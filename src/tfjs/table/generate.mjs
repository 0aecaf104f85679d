// Writes what devices outside of TypeScript know of the kernel table: native/include/versemi/kernel_table.h (codes, kinds, named
// attributes, buffers), native/include/versemi/kernel_checks.h (whether a call fits its row) and assembly/kernels/table.ts. The files
// are committed: `npm install` compiles before anything is built. `npm run build` runs this first; test/unit/kernel-table.test.ts
// fails where they are stale.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = dirname(fileURLToPath(import.meta.url));
const root = join(folder, '..', '..', '..');

/** The table, which is TypeScript. */
async function loadTable() {
  const { build } = await import('esbuild');
  const { outputFiles } = await build({
    stdin: {
      contents: "export * from './kernel-table.js'; export * from './rules.js'; export * from './expression.js';",
      resolveDir: folder,
      loader: 'ts',
    },
    bundle: true,
    format: 'esm',
    write: false,
    logLevel: 'error',
  });
  return import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].text).toString('base64')}`);
}

/** @returns the text of each generated file, by its path from the root of the repository */
export async function generate() {
  const table = await loadTable();
  const { snakeCase } = table;
  const rows = Object.entries(table.kernelTable);
  const kinds = { unary: table.unaryKinds, binary: table.binaryKinds, reduce: table.reduceKinds };
  const note =
    'Made by src/tfjs/table/generate.mjs from src/tfjs/table/kernel-table.ts, which says what each op computes. Do not edit.';
  const familyAttributes = (row) =>
    row.family === undefined ? [] : Object.entries(table.families[row.family].attributes);
  const buffersOf = (row) =>
    [row.inputs, row.outputs].flatMap((side, output) =>
      Object.entries(side).map(([name, entry]) => ({ name, output: output === 1, ...table.bufferRule(entry) })),
    );

  // --- kernel_table.h ----------------------------------------------------------------------------------------------
  const kindOf = (rule) => Object.keys(kinds).find((name) => kinds[name] === rule.kinds);
  const typeOf = (rule) => (kindOf(rule) === undefined ? plainTypes[rule.is] : `${kindOf(rule)}_kind`);
  const plainTypes = { whole: 'std::int64_t', flag: 'bool', number: 'double', list: 'attribute_list' };
  const constructorOf = (name, base, attributes, offset) => {
    const lines = [];
    let fixed = offset;
    const lists = []; // lengths of the lists before
    for (const [each, rule] of attributes) {
      const { is, length } = rule;
      const at = [`${fixed}`, ...lists.map((one) => `${snakeCase(one)}`)].join(' + ');
      const value = `attributes[${at}]`;
      const read = {
        whole: `static_cast<${typeOf(rule)}>(${value})`,
        flag: `${value} != 0`,
        number: value,
        list: `attribute_list{attributes + ${at}}`,
      }[is];
      lines.push(`${snakeCase(each)}(${read})`);
      if (is === 'list') lists.push(length);
      else fixed++;
    }
    const initializers = [...(base === undefined ? [] : [`${base}(attributes)`]), ...lines];
    return `  explicit ${name}(const double* attributes)\n      : ${initializers.join(',\n        ')} {}\n`;
  };
  const struct = (name, base, attributes, offset) => {
    const members = attributes.map(([each, rule]) => `  ${typeOf(rule)} ${snakeCase(each)};\n`).join('');
    const head = base === undefined ? `struct ${name} {` : `struct ${name} : ${base} {`;
    if (base !== undefined && attributes.length === 0)
      return `struct ${name} : ${base} {\n  using ${base}::${base};\n};\n`;
    return `${head}\n${members}\n${constructorOf(name, base, attributes, offset)}};\n`;
  };
  const bufferEnum = (name, row) => {
    const lines = [];
    const functions = [];
    let before = '';
    let place = 0;
    for (const { name: each, repeated } of buffersOf(row)) {
      if (before === '') lines.push(`  ${snakeCase(each)} = ${place},\n`);
      else
        functions.push(
          `constexpr std::int32_t ${snakeCase(each)}_after(std::int64_t ${before}) { return static_cast<std::int32_t>(${place} + ${before}); }\n`,
        );
      if (repeated === undefined) place++;
      else before = snakeCase(repeated);
    }
    return `namespace ${name}_buffer {\nenum : std::int32_t {\n${lines.join('')}};\n${functions.join('')}}  // namespace ${name}_buffer\n`;
  };
  const header = [
    `// ${note}`,
    '//',
    '// For each op: its code; `NAME_attributes`, which reads the packed attributes of a call by their names; the places of its',
    '// buffers, `NAME_buffer::input`; and what is known of these buffers. kernel_checks.h says whether a call fits its row.',
    '#ifndef VERSEMI_KERNEL_TABLE_H',
    '#define VERSEMI_KERNEL_TABLE_H',
    '',
    '#include <cstdint>',
    '',
    '#include "versemi/device_abi.h"',
    '',
    'enum versemi_op {',
    ...rows.map(([name, { code }]) => `  VERSEMI_${name.toUpperCase()} = ${code},`),
    '};',
    '',
    'namespace versemi {',
    '',
    ...Object.entries(kinds).map(
      ([name, list]) =>
        `enum class ${name}_kind : std::int32_t {\n${list.map((each) => `  ${snakeCase(each)},\n`).join('')}};\n`,
    ),
    ...Object.entries(table.constants).map(([name, value]) => `constexpr int ${snakeCase(name)} = ${value};`),
    'constexpr int largest_rank = 8;',
    '',
    '// Whole numbers that stand one after the other among the attributes.',
    'struct attribute_list {',
    '  const double* at;',
    '  std::int64_t operator[](std::int64_t i) const { return static_cast<std::int64_t>(at[i]); }',
    '};',
    '',
    ...Object.entries(table.families).map(([name, { attributes }]) =>
      [
        struct(`${name}_attributes`, undefined, Object.entries(attributes), 0),
        `constexpr std::int32_t ${name}_attribute_count = ${Object.keys(attributes).length};\n`,
      ].join(''),
    ),
    ...rows.map(([name, row]) => {
      const inherited = familyAttributes(row).length;
      const base = row.family === undefined ? undefined : `${row.family}_attributes`;
      const attributes = Object.entries(row.attributes ?? {});
      const own = base === `${name}_attributes` ? '' : struct(`${name}_attributes`, base, attributes, inherited);
      return `// --- ${name} ---\n${own}${bufferEnum(name, row)}`;
    }),
    '// What is known of a buffer of an op; one that is repeated stands once.',
    'struct buffer_description {',
    '  const char* name;',
    '  bool output;',
    '  bool repeated;',
    '  bool in_place;  // the op changes what the buffer holds',
    '  bool narrow;    // an activation: a device of lower precision may store it in 16 bits; all others are float32',
    '};',
    '',
    'struct op_description {',
    '  const char* name;',
    '  const buffer_description* buffers;',
    '  std::int32_t buffer_count;',
    '  std::int32_t input_count;  // of buffers, each once',
    '',
    '  // The buffer in place `i` of a call with `count` buffers.',
    '  const buffer_description& buffer(std::int32_t i, std::int32_t count) const {',
    '    const std::int32_t more = count - buffer_count;  // what is repeated stands that many times more',
    '    std::int32_t at = 0;',
    '    for (; at + 1 < buffer_count && i > 0; at++) {',
    '      const std::int32_t here = buffers[at].repeated ? 1 + more : 1;',
    '      if (i < here) break;',
    '      i -= here;',
    '    }',
    '    return buffers[at];',
    '  }',
    '  // How many of the `count` buffers of a call are inputs; the outputs follow.',
    '  std::int32_t inputs(std::int32_t count) const {',
    '    for (std::int32_t i = 0; i < input_count; i++)',
    '      if (buffers[i].repeated) return count - (buffer_count - input_count);',
    '    return input_count;',
    '  }',
    '};',
    '',
    '// nullptr for a code that is in no row.',
    'inline const op_description* describe_op(std::int32_t op) {',
    '  switch (op) {',
    ...rows.flatMap(([name, row]) => {
      const buffers = buffersOf(row);
      const lines = buffers.map(
        ({ name: each, output, repeated, inPlace, narrow }) =>
          `          {"${each}", ${output}, ${repeated !== undefined}, ${inPlace === true}, ${narrow === true}},`,
      );
      return [
        `    case VERSEMI_${name.toUpperCase()}: {`,
        '      static constexpr buffer_description buffers[] = {',
        ...lines,
        '      };',
        `      static constexpr op_description op_row{"${name}", buffers, ${buffers.length}, ${Object.keys(row.inputs).length}};`,
        '      return &op_row;',
        '    }',
      ];
    }),
    '    default:',
    '      return nullptr;',
    '  }',
    '}',
    '',
    '}  // namespace versemi',
    '',
    '#endif',
    '',
  ].join('\n');

  // --- kernel_checks.h ---------------------------------------------------------------------------------------------
  const checkOf = ([name, row]) => {
    const family = row.family === undefined ? {} : table.families[row.family];
    const lists = new Set();
    const lines = [];
    const print = (each, whole) => {
      if (Object.hasOwn(table.constants, each)) return `${table.constants[each]}.0`;
      return lists.has(each) && !whole ? `${snakeCase(each)}_value[i]` : `${snakeCase(each)}_value`;
    };
    const express = (text) => table.printExpression(table.parseExpression(text), print);
    const number = (value) => (Number.isInteger(value) && value > 2 ** 31 - 1 ? 'largest_count' : `${value}`);
    for (const [each, rule] of [...familyAttributes(row), ...Object.entries(row.attributes ?? {})]) {
      const local = `${snakeCase(each)}_value`;
      if (rule.is === 'list') {
        lists.add(each);
        lines.push(`const checked_list ${local} = call.list("${each}", ${snakeCase(rule.length)}_value);`);
      } else if (rule.is === 'number')
        lines.push(
          rule.low === undefined ? `call.number("${each}");` : `call.number_from("${each}", ${number(rule.low)});`,
        );
      else
        lines.push(
          `const double ${local} = call.whole("${each}", ${rule.is === 'flag' ? '0, 1' : `${number(rule.low)}, ${number(rule.high)}`});`,
        );
    }
    for (const [each, text] of Object.entries({ ...family.sizes, ...row.sizes }))
      lines.push(`const double ${snakeCase(each)}_value = ${express(text)};`);
    for (const text of [...(family.requires ?? []), ...(row.requires ?? [])])
      lines.push(`call.require(${express(text)}, "${text}");`);
    for (const { name: each, count, optional, repeated } of buffersOf(row)) {
      const absent = optional === undefined ? 'false' : optional === '1' ? 'true' : `${express(optional)} != 0.0`;
      const line = `call.buffer("${each}", ${express(count)}, ${absent});`;
      lines.push(
        repeated === undefined
          ? line
          : `for (int64_t i = 0; call.goes_on(i, ${snakeCase(repeated)}_value); i++) ${line}`,
      );
    }
    const used = lines.join('\n');
    // Attributes that no size depends on are checked all the same.
    const body = lines.map((line) => {
      const local = /^const \w+ (\w+) = (.*)$/.exec(line);
      return local !== null && used.split(local[1]).length === 2 ? local[2] : line;
    });
    return `inline void check_${name}(call_check& call) {\n${body.map((line) => `  ${line}\n`).join('')}}\n`;
  };
  const checks = [
    `// ${note}`,
    '//',
    '// Whether a call fits its row: attributes, conditions, elements of each buffer. Included by the addon alone, which checks every',
    '// call once before a kernel sees it.',
    '#ifndef VERSEMI_KERNEL_CHECKS_H',
    '#define VERSEMI_KERNEL_CHECKS_H',
    '',
    '#include "versemi/call_check.h"',
    '#include "versemi/kernel_table.h"',
    '',
    'namespace versemi {',
    '',
    ...rows.map(checkOf),
    '// Checks a call of `op`; false where there is no such row.',
    'inline bool check_row(std::int32_t op, call_check& call) {',
    '  switch (op) {',
    ...rows.map(([name]) => `    case VERSEMI_${name.toUpperCase()}: check_${name}(call); return true;`),
    '    default: return false;',
    '  }',
    '}',
    '',
    '}  // namespace versemi',
    '',
    '#endif',
    '',
  ].join('\n');

  // --- assembly/kernels/table.ts -----------------------------------------------------------------------------------
  const upper = (text) => snakeCase(text).toUpperCase();
  // Without @inline a constant becomes a global, and loops are no longer specialised for the kind that they are called with:
  // `unary` would then be forty times slower.
  const constant = (name, value) => `@inline export const ${name}: i32 = ${value};`;
  const camel = (text) => text.toLowerCase().replaceAll(/_(\w)/g, (_, letter) => letter.toUpperCase());
  const functionOf = (name, length, sum) =>
    `@inline export function ${camel(name)}(${length}: i32): i32 {\n  return ${sum};\n}`;
  const places = (prefix, attributes, offset) => {
    const lines = [];
    let fixed = offset;
    const lists = [];
    for (const [each, { is, length }] of attributes) {
      const name = `${prefix}_${upper(each)}`;
      if (lists.length === 0) lines.push(constant(name, fixed));
      else lines.push(functionOf(name, lists[0], [fixed, ...lists].join(' + ')));
      if (is === 'list') lists.push(length);
      else fixed++;
    }
    return lines;
  };
  const script = [
    `// ${note}`,
    '//',
    '// For each op: its code, the places of its attributes and the places of its buffers. A place behind a list of attributes or',
    '// behind repeated buffers is a function of their number.',
    '// @ts-nocheck: TypeScript knows no decorators of constants and functions, AssemblyScript does',
    '',
    ...rows.map(([name, { code }]) => constant(`OP_${name.toUpperCase()}`, code)),
    '',
    ...Object.entries(kinds).flatMap(([name, list]) => [
      ...list.map((each, i) => constant(`${name.toUpperCase()}_KIND_${upper(each)}`, i)),
      '',
    ]),
    ...Object.entries(table.constants).map(([name, value]) => constant(upper(name), value)),
    '',
    ...Object.entries(table.families).flatMap(([name, { attributes }]) => [
      `// ${name}: the attributes that its rows begin with`,
      ...places(name.toUpperCase(), Object.entries(attributes), 0),
      '',
    ]),
    ...rows.flatMap(([name, row]) => {
      const lines = places(name.toUpperCase(), Object.entries(row.attributes ?? {}), familyAttributes(row).length);
      let place = 0;
      let before = '';
      for (const { name: each, repeated } of buffersOf(row)) {
        const buffer = `${name.toUpperCase()}_BUFFER_${upper(each)}`;
        lines.push(
          before === ''
            ? constant(buffer, place)
            : functionOf(buffer, before, place === 0 ? before : `${place} + ${before}`),
        );
        if (repeated === undefined) place++;
        else before = repeated;
      }
      return [`// ${name}`, ...lines, ''];
    }),
  ]
    .join('\n')
    .trimEnd()
    .concat('\n');

  return {
    'native/include/versemi/kernel_table.h': header,
    'native/include/versemi/kernel_checks.h': checks,
    'assembly/kernels/table.ts': script,
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [path, text] of Object.entries(await generate())) {
    const file = join(root, path);
    let before = '';
    try {
      before = readFileSync(file, 'utf8');
    } catch {
      // Not there yet.
    }
    if (before === text) continue;
    writeFileSync(file, text);
    console.log(`tfjs: ${path} follows the kernel table`);
  }
}
