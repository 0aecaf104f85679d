/** What a row of the kernel table is made of, and the words in which kernel-table.ts states it. */

/**
 * Attributes and element counts may not exceed this. Expressions are computed in double precision on both sides of the boundary:
 * below 2^53 every product of whole numbers is exact, and what lies above stays above after rounding, so it is refused.
 */
export const largestCount = 2 ** 46;

/** What an attribute may be. */
export type AttributeRule =
  | { readonly is: 'whole'; readonly low: number; readonly high: number; readonly kinds?: readonly string[] }
  | { readonly is: 'flag' }
  | { readonly is: 'number'; readonly low?: number }
  /** As many whole numbers as the attribute `length`, which comes earlier, says. */
  | { readonly is: 'list'; readonly length: string };

export const whole = (low = 0, high = largestCount) => ({ is: 'whole', low, high }) as const;
/** Position in a list of kinds. */
export const kind = (kinds: readonly string[]) => ({ is: 'whole', low: 0, high: kinds.length - 1, kinds }) as const;
export const flag = { is: 'flag' } as const;
/** Any number: NaN and infinity are for the op to carry on. */
export const number = { is: 'number' } as const;
export const atLeastZero = { is: 'number', low: 0 } as const;
export const list = <const Length extends string>(length: Length) => ({ is: 'list', length }) as const;

/** A buffer of a call. */
export interface BufferRule {
  /** Expression: float32 elements, at least. Where the buffer is repeated, a list stands for its element of the same place. */
  readonly count: string;
  /** Expression: not 0 where the buffer may be absent. */
  readonly optional?: string;
  /** Name of the attribute that says how many buffers of this kind follow each other. */
  readonly repeated?: string;
  /** The op changes what the buffer holds; the caller gives a tensor that exists. */
  readonly inPlace?: boolean;
  /** An activation: a device of lower precision may store it in 16 bits. All others are float32 on every device. */
  readonly narrow?: boolean;
}

/** An expression alone is a buffer that must be there. */
export type BufferEntry = string | BufferRule;

export const bufferRule = (entry: BufferEntry): BufferRule => (typeof entry === 'string' ? { count: entry } : entry);
/** May be absent: always, or where the expression `when` is not 0. */
export const optional = (count: BufferEntry, when = '1') => ({ ...bufferRule(count), optional: when });
export const repeated = (times: string, entry: BufferEntry) => ({ ...bufferRule(entry), repeated: times });
export const inPlace = (entry: BufferEntry) => ({ ...bufferRule(entry), inPlace: true });
export const narrow = (entry: BufferEntry) => ({ ...bufferRule(entry), narrow: true });

export interface KernelFamily {
  readonly attributes: Readonly<Record<string, AttributeRule>>;
  /** Expressions with a name. */
  readonly sizes?: Readonly<Record<string, string>>;
  /** Expressions that must not be 0; an error shows them as they are. */
  readonly requires?: readonly string[];
}

export interface KernelRow extends Partial<KernelFamily> {
  readonly code: number;
  /** Its attributes come first, then the row's own. */
  readonly family?: string;
  readonly inputs: Readonly<Record<string, BufferEntry>>;
  readonly outputs: Readonly<Record<string, BufferEntry>>;
}
