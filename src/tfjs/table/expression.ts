/**
 * The expressions of the kernel table: names, numbers, + - *, comparisons (< <= ==, 1 or 0), `condition ? a : b`, and functions of
 * lists. They are evaluated here for devices in TypeScript and printed as C++ for native ones; both compute in double precision.
 */

export type Expression =
  | { readonly is: 'number'; readonly value: number }
  | { readonly is: 'name'; readonly name: string }
  | { readonly is: 'operator'; readonly operator: Operator; readonly left: Expression; readonly right: Expression }
  | { readonly is: 'choice'; readonly condition: Expression; readonly yes: Expression; readonly no: Expression }
  | { readonly is: 'call'; readonly name: FunctionName; readonly of: readonly Expression[] };

const operators = {
  '<': (a: number, b: number) => Number(a < b),
  '<=': (a: number, b: number) => Number(a <= b),
  '==': (a: number, b: number) => Number(a === b),
  '+': (a: number, b: number) => a + b,
  '-': (a: number, b: number) => a - b,
  '*': (a: number, b: number) => a * b,
};
type Operator = keyof typeof operators;
type List = readonly number[];

/** The same functions, under the same names in snake case, stand in native/include/versemi/call_check.h. */
const functions = {
  sum: (values: List) => values.reduce((total, value) => total + value, 0),
  product: (values: List) => values.reduce((total, value) => total * value, 1),
  productOfSums: (a: List, b: List, c: List) => a.reduce((total, value, i) => total * (value + b[i]! + c[i]!), 1),
  /** Index of the last element of a strided view, plus 1. */
  extent: (shape: List, strides: List) =>
    shape.includes(0) ? 0 : shape.reduce((last, size, i) => last + (size - 1) * strides[i]!, 1),
  /** Index of the last element of `batch` matrices of `size` elements that begin `step` apart, plus 1. */
  strided: (batch: number, step: number, size: number) => (batch === 0 || size === 0 ? 0 : (batch - 1) * step + size),
  isPermutation: (values: List) => Number(values.every((_, axis) => values.includes(axis))),
  isWithin: (begin: List, size: List, shape: List) => Number(shape.every((all, i) => begin[i]! + size[i]! <= all)),
};
export type FunctionName = keyof typeof functions;
const takesNumbers: ReadonlySet<FunctionName> = new Set(['strided']);

const tokenPattern = /\s*(?:(\d+)|([A-Za-z]\w*)|(<=|==|[-+*<?:(),]))/y;

/** @throws Error where the text is no expression */
export function parseExpression(text: string): Expression {
  const tokens: string[] = [];
  tokenPattern.lastIndex = 0;
  for (let at = 0; at < text.trimEnd().length; at = tokenPattern.lastIndex) {
    const match = tokenPattern.exec(text);
    if (match === null) throw new Error(`expression ${JSON.stringify(text)}: no meaning at character ${at}`);
    tokens.push(match[0].trim());
  }
  let next = 0;
  const peek = () => tokens[next];
  const take = (expected?: string) => {
    const token = tokens[next++];
    if (token === undefined || (expected !== undefined && token !== expected))
      throw new Error(
        `expression ${JSON.stringify(text)}: expected ${expected ?? 'more'}, found ${token ?? 'its end'}`,
      );
    return token;
  };
  const binary = (level: readonly string[], operand: () => Expression) => () => {
    let left = operand();
    while (level.includes(peek() ?? '')) {
      const operator = take() as Operator;
      left = { is: 'operator', operator, left, right: operand() };
    }
    return left;
  };
  const primary = (): Expression => {
    const token = take();
    if (token === '(') {
      const inner = choice();
      take(')');
      return inner;
    }
    if (/^\d/.test(token)) return { is: 'number', value: Number(token) };
    if (!/^\w/.test(token)) throw new Error(`expression ${JSON.stringify(text)}: ${token} begins nothing`);
    if (peek() !== '(') return { is: 'name', name: token };
    if (!Object.hasOwn(functions, token)) throw new Error(`expression ${JSON.stringify(text)}: no function ${token}`);
    const of: Expression[] = [];
    take('(');
    do {
      of.push(choice());
    } while (peek() === ',' && take(','));
    take(')');
    return { is: 'call', name: token as FunctionName, of };
  };
  const sums = binary(['+', '-'], binary(['*'], primary));
  const comparison = binary(['<', '<=', '=='], sums);
  function choice(): Expression {
    const condition = comparison();
    if (peek() !== '?') return condition;
    take('?');
    const yes = choice();
    take(':');
    return { is: 'choice', condition, yes, no: choice() };
  }
  const result = choice();
  if (next < tokens.length) throw new Error(`expression ${JSON.stringify(text)}: ${tokens[next]} is too much`);
  return result;
}

/** The values of a call: a number or a list in each place. */
export type Values = readonly (number | List)[];

/** @returns a function of the values and, for buffers that are repeated, of the place in their lists */
export function compileExpression(
  expression: Expression,
  placeOf: (name: string) => number,
): (values: Values, index: number) => number {
  const compile = (one: Expression) => compileExpression(one, placeOf);
  switch (expression.is) {
    case 'number': {
      const { value } = expression;
      return () => value;
    }
    case 'name': {
      const place = placeOf(expression.name);
      return (values, index) => {
        const value = values[place]!;
        return typeof value === 'number' ? value : value[index]!;
      };
    }
    case 'operator': {
      const [left, right] = [compile(expression.left), compile(expression.right)];
      const apply = operators[expression.operator];
      return (values, index) => apply(left(values, index), right(values, index));
    }
    case 'choice': {
      const [condition, yes, no] = [compile(expression.condition), compile(expression.yes), compile(expression.no)];
      return (values, index) => (condition(values, index) !== 0 ? yes(values, index) : no(values, index));
    }
    case 'call': {
      const apply = functions[expression.name] as (...of: (number | List)[]) => number;
      if (takesNumbers.has(expression.name)) {
        const of = expression.of.map(compile);
        return (values, index) => apply(...of.map((one) => one(values, index)));
      }
      const places = expression.of.map((one) => placeOf(one.is === 'name' ? one.name : 'a list'));
      return (values) => apply(...places.map((place) => values[place]!));
    }
  }
}

/** @param print how a name is written; the second argument: as a whole list */
export function printExpression(expression: Expression, print: (name: string, whole: boolean) => string): string {
  const inner = (one: Expression) => printExpression(one, print);
  switch (expression.is) {
    case 'number':
      return `${expression.value}.0`;
    case 'name':
      return print(expression.name, false);
    case 'operator':
      return `(${inner(expression.left)} ${expression.operator} ${inner(expression.right)})`;
    case 'choice':
      return `(${inner(expression.condition)} != 0.0 ? ${inner(expression.yes)} : ${inner(expression.no)})`;
    case 'call': {
      const of = expression.of.map((one) =>
        one.is === 'name' && !takesNumbers.has(expression.name) ? print(one.name, true) : inner(one),
      );
      return `${snakeCase(expression.name)}(${of.join(', ')})`;
    }
  }
}

export function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
