/**
 * Reads pickles (https://docs.python.org/3/library/pickletools.html) that hold weights, and nothing else: a machine of the few opcodes that
 * `torch.save` writes for a state dict. Nothing is ever called: a name from Python is looked up in a short list and stands for a plain
 * value, dictionaries become Maps, so that no key means anything, and a name that is not on the list ends the reading.
 */

import { VersemiError } from '../errors.js';
import { shown } from '../json-text.js';

/** A name of Python that a pickle may use, before it is applied to anything. */
export interface PickleGlobal {
  readonly global: string;
  /** What becomes of its arguments. */
  readonly make: (args: readonly unknown[]) => unknown;
}

/** A value that stands for an object of no use here, such as a number of numpy beside the weights. */
export const inert: unique symbol = Symbol('inert');

export interface PickleOptions {
  /** Names file and field in error sentences. */
  readonly file?: string;
  /** The names that may occur, `module name`. */
  readonly globals: ReadonlyMap<string, PickleGlobal['make']>;
  /** Stands for what lies outside of the pickle. */
  readonly persistent?: (id: unknown) => unknown;
}

const mark = Symbol('mark');

/** More than any checkpoint has. Each may take one byte of a file, and some hundred bytes of memory. */
const mostOpcodes = 2_000_000;

const saveAlone =
  "Save the weights alone in Python, torch.save(network.state_dict(), 'weights.pth'), and give that file; never load a file that you do not trust there.";

/** @throws VERSEMI_MODEL_INVALID */
export function invalidPickle(file: string | undefined, field: string, expected: string, found: string): VersemiError {
  const remedy = /name of Python|pickle of weights/.test(expected) ? saveAlone : 'Copy or download the file again.';
  return new VersemiError('MODEL_INVALID', { ...(file === undefined ? {} : { file }), field, expected, found, remedy });
}

class Machine {
  private readonly stack: unknown[] = [];
  private readonly memo = new Map<number, unknown>();
  private readonly view: DataView;
  private at: number;

  constructor(
    private readonly bytes: Uint8Array,
    start: number,
    private readonly options: PickleOptions,
  ) {
    this.at = start;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  private fail(expected: string, found: string): VersemiError {
    return invalidPickle(this.options.file, `byte ${this.at} of the pickle`, expected, found);
  }

  /** Where the next `count` bytes begin. @throws where there are fewer */
  private take(count: number): number {
    const from = this.at;
    if (!(count <= this.bytes.length - from)) throw this.fail(`${count} more bytes`, 'the end of the file');
    this.at += count;
    return from;
  }

  private byte(): number {
    return this.bytes[this.take(1)]!;
  }

  private uint32(): number {
    return this.view.getUint32(this.take(4), true);
  }

  private uint64(): number {
    return Number(this.view.getBigUint64(this.take(8), true));
  }

  private raw(count: number): Uint8Array {
    const from = this.take(count);
    return this.bytes.subarray(from, from + count);
  }

  private text(count: number): string {
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(this.raw(count));
    } catch (error) {
      if (error instanceof VersemiError) throw error;
      throw this.fail('UTF-8', 'other bytes');
    }
  }

  private line(): string {
    const end = this.bytes.indexOf(10, this.at);
    if (end < 0) throw this.fail('a line of text', 'the end of the file');
    const text = this.text(end - this.at);
    this.take(1);
    return text;
  }

  private pop(): unknown {
    if (this.stack.length === 0) throw this.fail('a pickle of weights', 'an opcode without its operand');
    const value = this.stack.pop();
    if (value === mark) throw this.fail('a pickle of weights', 'an opcode without its operand');
    return value;
  }

  private top(): unknown {
    const value = this.stack.at(-1);
    if (this.stack.length === 0 || value === mark)
      throw this.fail('a pickle of weights', 'an opcode without its operand');
    return value;
  }

  private popToMark(): unknown[] {
    const from = this.stack.lastIndexOf(mark);
    if (from < 0) throw this.fail('a pickle of weights', 'an opcode without its mark');
    const values = this.stack.splice(from);
    values.shift();
    return values;
  }

  private tuple(count: number): unknown[] {
    const values: unknown[] = [];
    for (let i = 0; i < count; i++) values.unshift(this.pop());
    return values;
  }

  private global(module: unknown, name: unknown): PickleGlobal {
    if (typeof module !== 'string' || typeof name !== 'string')
      throw this.fail('a pickle of weights', 'a name of Python that is no text');
    const global = `${module} ${name}`;
    const make = this.options.globals.get(global);
    if (make === undefined) throw this.fail('no name of Python but those of tensors', shown(`${module}.${name}`));
    return { global, make };
  }

  /** What calling a name would give; the object that is made of it is never called. */
  private applied(callee: unknown, args: unknown): unknown {
    if (callee === inert) return inert;
    if (typeof callee !== 'object' || callee === null || !('make' in callee) || !Array.isArray(args))
      throw this.fail('a pickle of weights', 'a call of something else');
    return (callee as PickleGlobal).make(args);
  }

  private setItems(pairs: readonly unknown[]): void {
    const target = this.top();
    if (target === inert) return;
    if (!(target instanceof Map) || pairs.length % 2 !== 0)
      throw this.fail('a pickle of weights', 'items of something else than a dictionary');
    for (let i = 0; i < pairs.length; i += 2) target.set(pairs[i], pairs[i + 1]);
  }

  private append(values: readonly unknown[]): void {
    const target = this.top();
    if (target === inert) return;
    if (!Array.isArray(target)) throw this.fail('a pickle of weights', 'elements of something else than a list');
    for (const value of values) target.push(value);
  }

  private remembered(index: number): unknown {
    if (!this.memo.has(index)) throw this.fail('a pickle of weights', `entry ${index} of the memo, which is not set`);
    return this.memo.get(index);
  }

  private long(count: number): number | bigint {
    let value = 0n;
    for (const byte of this.raw(count).toReversed()) value = (value << 8n) | BigInt(byte);
    const signed = BigInt.asIntN(8 * count, value);
    const number = Number(signed);
    return Number.isSafeInteger(number) ? number : signed;
  }

  run(): { value: unknown; end: number } {
    const push = (value: unknown) => this.stack.push(value);
    for (let opcodes = 1; ; opcodes++) {
      const opcode = this.byte();
      if (opcodes > mostOpcodes) throw this.fail('a pickle of weights', `more than ${mostOpcodes} opcodes`);
      switch (String.fromCharCode(opcode)) {
        case '.':
          return { value: this.pop(), end: this.at };
        case '\x80': // PROTO
          if (this.byte() > 5) throw this.fail('protocol 2 to 5', 'a newer one');
          break;
        case '\x95': // FRAME
          this.uint64();
          break;
        case '(':
          push(mark);
          break;
        case 'N':
          push(null);
          break;
        case '\x88':
        case '\x89':
          push(opcode === 0x88);
          break;
        case 'K':
          push(this.byte());
          break;
        case 'M':
          push(this.view.getUint16(this.take(2), true));
          break;
        case 'J':
          push(this.view.getInt32(this.take(4), true));
          break;
        case '\x8a': // LONG1
          push(this.long(this.byte()));
          break;
        case 'G':
          push(this.view.getFloat64(this.take(8)));
          break;
        case 'X':
          push(this.text(this.uint32()));
          break;
        case '\x8c': // SHORT_BINUNICODE
          push(this.text(this.byte()));
          break;
        case 'T':
          push(this.text(this.uint32()));
          break;
        case 'U':
          push(this.text(this.byte()));
          break;
        case 'B':
          push(this.raw(this.uint32()));
          break;
        case 'C':
          push(this.raw(this.byte()));
          break;
        case '}':
          push(new Map());
          break;
        case ']':
        case ')':
          push([]);
          break;
        case 't':
          push(this.popToMark());
          break;
        case '\x85':
        case '\x86':
        case '\x87':
          push(this.tuple(opcode - 0x84));
          break;
        case 'a': {
          const value = this.pop();
          this.append([value]);
          break;
        }
        case 'e': {
          const values = this.popToMark();
          this.append(values);
          break;
        }
        case 's': {
          const pair = this.tuple(2);
          this.setItems(pair);
          break;
        }
        case 'u': {
          const pairs = this.popToMark();
          this.setItems(pairs);
          break;
        }
        case 'q':
          this.memo.set(this.byte(), this.top());
          break;
        case 'r':
          this.memo.set(this.uint32(), this.top());
          break;
        case '\x94': // MEMOIZE
          this.memo.set(this.memo.size, this.top());
          break;
        case 'h':
          push(this.remembered(this.byte()));
          break;
        case 'j':
          push(this.remembered(this.uint32()));
          break;
        case 'c': {
          const module = this.line();
          push(this.global(module, this.line()));
          break;
        }
        case '\x93': {
          const [module, name] = this.tuple(2);
          push(this.global(module, name));
          break;
        }
        case 'R':
        case '\x81': {
          // REDUCE, NEWOBJ
          const [callee, args] = this.tuple(2);
          push(this.applied(callee, args));
          break;
        }
        case 'b': // BUILD: attributes of an object, of which none matters here
          this.pop();
          this.top();
          break;
        case 'Q': {
          const id = this.pop();
          if (this.options.persistent === undefined)
            throw this.fail('a pickle of weights', 'a reference to the outside');
          push(this.options.persistent(id));
          break;
        }
        default:
          this.at--;
          throw this.fail('a pickle of weights', `opcode 0x${opcode.toString(16).padStart(2, '0')}`);
      }
    }
  }
}

/**
 * Reads one pickle.
 * @param start where it begins
 * @returns the value, and where the pickle ends
 * @throws VERSEMI_MODEL_INVALID naming the byte, and what stood there
 */
export function unpickle(bytes: Uint8Array, start: number, options: PickleOptions): { value: unknown; end: number } {
  return new Machine(bytes, start, options).run();
}
