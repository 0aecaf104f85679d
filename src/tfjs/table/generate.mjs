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

/** Items one after the other, in lines of at most 120 characters. */
function wrapped(head, items, end) {
  const indent = ' '.repeat(head.length);
  const lines = [head];
  items.forEach((item, i) => {
    const text = i === items.length - 1 ? `${item}${end}` : `${item}, `;
    if (lines.at(-1).length + text.trimEnd().length > 120) lines.push(indent);
    lines[lines.length - 1] += text;
  });
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
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

  const endOfHeader = ['', '}  // namespace versemi', '', '#endif', ''];

  // --- kernel_table.h ----------------------------------------------------------------------------------------------
  const kindOf = (rule) => Object.keys(kinds).find((name) => kinds[name] === rule.kinds);
  const typeOf = (rule) => (kindOf(rule) === undefined ? plainTypes[rule.is] : `${kindOf(rule)}_kind`);
  const plainTypes = { whole: 'std::int64_t', flag: 'bool', number: 'double', list: 'attribute_list' };
  const constructorOf = (name, base, attributes, offset) => {
    const initializers = base === undefined ? [] : [`${base}(attributes)`];
    let fixed = offset;
    const lists = []; // lengths of the lists before
    for (const [each, rule] of attributes) {
      const at = [`${fixed}`, ...lists.map(snakeCase)].join(' + ');
      const value = `attributes[${at}]`;
      const read = {
        whole: kindOf(rule) === undefined ? `integer(${value})` : `static_cast<${typeOf(rule)}>(${value})`,
        flag: `${value} != 0`,
        number: value,
        list: `attribute_list{attributes + ${at}}`,
      }[rule.is];
      initializers.push(`${snakeCase(each)}(${read})`);
      if (rule.is === 'list') lists.push(rule.length);
      else fixed++;
    }
    return `  explicit ${name}(const double* attributes)\n${wrapped('      : ', initializers, ' {}')}`;
  };
  const struct = (name, base, attributes, offset) => {
    const head = base === undefined ? `struct ${name} {` : `struct ${name} : ${base} {`;
    if (base !== undefined && attributes.length === 0) return `${head}\n  using ${base}::${base};\n};\n`;
    const members = [];
    for (const [each, rule] of attributes) {
      const type = typeOf(rule);
      if (members.at(-1)?.type === type) members.at(-1).names.push(snakeCase(each));
      else members.push({ type, names: [snakeCase(each)] });
    }
    const lines = members.map(({ type, names }) => wrapped(`  ${type} `, names, ';')).join('');
    return `${head}\n${lines}${constructorOf(name, base, attributes, offset)}};\n`;
  };
  const bufferEnum = (name, row) => {
    const items = [];
    const functions = [];
    let before = '';
    let place = 0;
    for (const { name: each, repeated } of buffersOf(row)) {
      if (before === '') items.push(`${snakeCase(each)} = ${place}`);
      else
        functions.push(
          `constexpr std::int32_t ${snakeCase(each)}_after(std::int64_t ${before}) { return static_cast<std::int32_t>(${place} + ${before}); }\n`,
        );
      if (repeated === undefined) place++;
      else before = snakeCase(repeated);
    }
    return `namespace ${name}_buffer {\n${wrapped('enum : std::int32_t { ', items, ' };')}${functions.join('')}}  // namespace ${name}_buffer\n`;
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
    ...Object.entries(kinds).map(([name, list]) =>
      wrapped(`enum class ${name}_kind : std::int32_t { `, list.map(snakeCase), ' };'),
    ),
    ...Object.entries(table.constants).map(([name, value]) => `constexpr int ${snakeCase(name)} = ${value};`),
    'constexpr int largest_rank = 8;',
    '',
    'static inline std::int64_t integer(double attribute) { return static_cast<std::int64_t>(attribute); }',
    '',
    '// Whole numbers that stand one after the other among the attributes.',
    'struct attribute_list {',
    '  const double* at;',
    '  std::int64_t operator[](std::int64_t i) const { return integer(at[i]); }',
    '};',
    '',
    ...Object.entries(table.families).map(([name, { attributes }]) =>
      struct(`${name}_attributes`, undefined, Object.entries(attributes), 0),
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
          `{"${each}", ${output}, ${repeated !== undefined}, ${inPlace === true}, ${narrow === true}}`,
      );
      return [
        `    case VERSEMI_${name.toUpperCase()}: {`,
        wrapped('      static constexpr buffer_description buffers[] = {', lines, '};').trimEnd(),
        `      static constexpr op_description op_row{"${name}", buffers, ${buffers.length}, ${Object.keys(row.inputs).length}};`,
        '      return &op_row;',
        '    }',
      ];
    }),
    '    default:',
    '      return nullptr;',
    '  }',
    '}',
    ...endOfHeader,
  ].join('\n');

  // --- kernel_checks.h ---------------------------------------------------------------------------------------------
  const number = (value) => (value > 2 ** 31 - 1 ? 'largest_count' : `${value}`);
  /** How a check reads an attribute. */
  const readOf = ([name, rule]) => {
    if (rule.is === 'list') return `call.list("${name}", ${snakeCase(rule.length)}_)`;
    if (rule.is === 'number')
      return rule.low === undefined ? `call.number("${name}")` : `call.number_from("${name}", ${number(rule.low)})`;
    return `call.whole("${name}", ${rule.is === 'flag' ? '0, 1' : `${number(rule.low)}, ${number(rule.high)}`})`;
  };
  const localOf = (name) => `${snakeCase(name)}_`;
  const expressionIn = (lists, inherited) => (text) =>
    table.printExpression(table.parseExpression(text), (name, whole) => {
      if (Object.hasOwn(table.constants, name)) return `${table.constants[name]}.0`;
      const local = inherited.has(name) ? `family.${localOf(name)}` : localOf(name);
      return lists.has(name) && !whole ? `${local}[i]` : local;
    });
  const familyCheckOf = ([name, { attributes, sizes = {}, requires = [] }]) => {
    const express = expressionIn(new Set(), new Set());
    const values = [
      ...Object.entries(attributes).map((entry) => [entry[0], readOf(entry)]),
      ...Object.entries(sizes).map(([each, text]) => [each, express(text)]),
    ];
    const conditions = requires.map((text) => `    call.require(${express(text)}, "${text}");\n`).join('');
    return `struct checked_${name} {\n${wrapped(
      '  double ',
      values.map(([each]) => localOf(each)),
      ';',
    )}  explicit checked_${name}(call_check& call)\n${wrapped(
      '      : ',
      values.map(([each, value]) => `${localOf(each)}(${value})`),
      ' {',
    )}${conditions}  }\n};\n`;
  };
  const checkOf = ([name, row]) => {
    const { attributes = {}, sizes = {}, requires = [], family } = row;
    const inherited = new Set(
      family === undefined
        ? []
        : [...Object.keys(table.families[family].attributes), ...Object.keys(table.families[family].sizes ?? {})],
    );
    const lists = new Set(Object.keys(attributes).filter((each) => attributes[each].is === 'list'));
    const express = expressionIn(lists, inherited);
    const lines = family === undefined ? [] : [`const checked_${family} family(call);`];
    for (const entry of Object.entries(attributes))
      lines.push(`const ${lists.has(entry[0]) ? 'checked_list' : 'double'} ${localOf(entry[0])} = ${readOf(entry)};`);
    for (const [each, text] of Object.entries(sizes)) lines.push(`const double ${localOf(each)} = ${express(text)};`);
    for (const text of requires) lines.push(`call.require(${express(text)}, "${text}");`);
    for (const { name: each, count, optional, repeated } of buffersOf(row)) {
      const absent = optional === undefined ? 'false' : optional === '1' ? 'true' : `${express(optional)} != 0.0`;
      const line = `call.buffer("${each}", ${express(count)}, ${absent});`;
      lines.push(
        repeated === undefined ? line : `for (int64_t i = 0; call.goes_on(i, ${localOf(repeated)}); i++) ${line}`,
      );
    }
    const used = lines.join('\n');
    // Attributes that no size depends on are checked all the same.
    const body = lines.map((line) => {
      const local = /^const \w+ (\w+) = (.*)$/.exec(line);
      return local !== null && used.split(new RegExp(`\\b${local[1]}\\b`)).length === 2 ? local[2] : line;
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
    ...Object.entries(table.families).map(familyCheckOf),
    ...rows.map(checkOf),
    '// Checks a call of `op`; false where there is no such row.',
    'inline bool check_row(std::int32_t op, call_check& call) {',
    '  switch (op) {',
    ...rows.map(([name]) => `    case VERSEMI_${name.toUpperCase()}: check_${name}(call); return true;`),
    '    default: return false;',
    '  }',
    '}',
    ...endOfHeader,
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
