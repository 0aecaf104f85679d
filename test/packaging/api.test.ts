// The public names: each is documented, and so is every type that one of them names (typedoc); docstrings say shapes where there are
// arrays or tensors, units where there are lengths, times or sizes, and errors where a function throws.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import ts from 'typescript';
import { packageRoot } from '../../src/root.js';
import { publicProgram } from './public-program.js';

const { checker, names } = publicProgram();

/** What the doors export and versemi declares, by name. */
const exported = new Map(names.map(({ name, symbol }) => [name, symbol.declarations![0]!]));

const textOf = (node: ts.Node) =>
  ts
    .getJSDocCommentsAndTags(node)
    .map((doc) => doc.getText())
    .join('\n');
const throwsSaid = (node: ts.Node) => ts.getJSDocTags(node).some(({ tagName }) => tagName.text === 'throws');

/** A function, with its name for sentences. */
type Callable = ts.FunctionLikeDeclaration;
const functions: [string, Callable][] = [];
const members: [string, ts.PropertySignature | ts.PropertyDeclaration][] = [];
for (const [name, declaration] of exported) {
  if (ts.isFunctionDeclaration(declaration)) functions.push([name, declaration]);
  if (ts.isClassDeclaration(declaration) || ts.isInterfaceDeclaration(declaration))
    for (const member of declaration.members) {
      const path = `${name}.${member.name?.getText()}`;
      const isPrivate = (ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Private) !== 0;
      if (ts.isMethodDeclaration(member) && !isPrivate) functions.push([path, member]);
      if (ts.isPropertySignature(member) || ts.isPropertyDeclaration(member)) members.push([path, member]);
    }
}

t.test('every public name is documented, and every type that it names is public too', async (t) => {
  const typedoc = join(packageRoot, 'node_modules', 'typedoc', 'bin', 'typedoc');
  const { status, stdout, stderr } = spawnSync(process.execPath, [typedoc, '--emit', 'none'], {
    cwd: packageRoot,
    encoding: 'utf8',
  });
  t.equal(status, 0, `${stdout}${stderr}`);
});

/** Whether a function throws a coded error by itself, or calls a function that says it does. A defect of versemi is no such error. */
function throwsCoded({ body }: Callable): boolean {
  let found = false;
  const visit = (node: ts.Node): void => {
    if (ts.isThrowStatement(node)) found ||= !/'INTERNAL'|new RangeError/.test(node.getText());
    if (ts.isCallExpression(node)) {
      const called = checker.getResolvedSignature(node)?.declaration;
      found ||= called !== undefined && !ts.isJSDocSignature(called) && throwsSaid(called) && isOurs(called);
    }
    if (ts.isTryStatement(node)) {
      // What is caught is not thrown; what the handlers throw is.
      if (node.catchClause === undefined) visit(node.tryBlock);
      else visit(node.catchClause);
      if (node.finallyBlock !== undefined) visit(node.finallyBlock);
    } else ts.forEachChild(node, visit);
  };
  if (body !== undefined) visit(body);
  return found;
}
const isOurs = (node: ts.Node) => node.getSourceFile().fileName.startsWith(join(packageRoot, 'src'));

t.test('a function that throws a coded error says which', async (t) => {
  const throwing = functions.filter(([, declaration]) => throwsCoded(declaration));
  t.ok(throwing.length > 40, `${throwing.length} functions throw`);
  for (const [name, declaration] of throwing) t.ok(throwsSaid(declaration), `${name} has @throws`);
});

/** Arrays of voxels and tensors, and lists of them; not strings, records and handles. */
const isShaped = (type: string) =>
  /\b(Tensor(?!Container)(\dD)?|(Float|Uint|Int)\d+Array|VoxelArray)\b/.test(type) && !/ParsedModel|=>/.test(type);
/** A shape, or bytes of a file, in words of a docstring. */
const saysShape = (text: string) =>
  /\[[^\]]+\]|\bshapes?\b|\bscalar\b|\bbytes\b|\bper voxel\b|\bsame (size|shape)\b/i.test(text);

t.test('what takes, gives or holds voxels or tensors says their shape', async (t) => {
  let count = 0;
  for (const [name, declaration] of functions) {
    const types = [...declaration.parameters.map(({ type }) => type), declaration.type];
    if (!types.some((type) => type !== undefined && isShaped(type.getText()))) continue;
    count++;
    t.ok(saysShape(textOf(declaration)), name);
  }
  for (const [name, member] of members) {
    if (!isShaped(member.type?.getText() ?? '')) continue;
    count++;
    t.ok(saysShape(textOf(member)) || saysShape(textOf(member.parent)), name);
  }
  t.ok(count > 40, `${count} have a shape`);
});

const physical =
  /spacing|distance|tolerance|duration|seconds|elapsed|bytes|memory|volume(?!s|Copy)|angle|degrees|spread/i;
const unit =
  /(Mm3?|Ml|Voxels|Bytes|MiB|GiB|Seconds|Milliseconds|Ms|Hz|Degrees|PerSecond|bytes\w*|seconds)$|^(bytes|seconds)/;
const saysUnit =
  /\b(mm|millimet\w+|ml|millilit\w+|voxels?|bytes?|MiB|GB|seconds?|ms|milliseconds?|degrees|share|percent)\b/i;

t.test('a number of a length, a time or a size has its unit in its name or docstring', async (t) => {
  let count = 0;
  for (const [path, member] of members) {
    const name = path.split('.').at(-1)!;
    if (!/^(readonly )?(number|Triple)( \| (null|undefined))*$/.test(member.type?.getText() ?? '')) continue;
    if (!physical.test(name)) continue;
    count++;
    t.ok(unit.test(name) || saysUnit.test(textOf(member)) || saysUnit.test(textOf(member.parent)), path);
  }
  t.ok(count > 30, `${count} have a unit`);
});
