import { VersemiError } from './errors.js';
import { shown } from './json-text.js';

/**
 * Parts of one's own beside those of versemi, by kind and name. A plan names parts and never holds code: what a name stands
 * for is decided by whoever runs the plan. This file knows the tables; what a part of each kind must be, says the folder that
 * asks for it.
 */

/** A part of any kind. Further fields are those of its kind. */
export interface Part {
  /** What plans, results and error sentences call it: 1 to 40 letters, digits and hyphens, first a letter. */
  readonly name: string;
}

/** What the name of a part looks like. */
export const partNamePattern = /^[a-zA-Z][\w-]{0,39}$/;

/** The functions without which a part of a kind is none. */
const functionsOf = {
  formats: ['read'],
  layouts: ['cases'],
  augmentations: ['change'],
  lossTerms: ['value'],
  networks: ['parameters', 'trunk', 'logits'],
  metrics: ['measure'],
} as const;

export type PartKind = keyof typeof functionsOf;

const kinds = Object.keys(functionsOf) as PartKind[];

/** What a table calls one of its parts in a sentence. */
const nouns: Readonly<Record<PartKind, string>> = {
  formats: 'file format',
  layouts: 'dataset layout',
  augmentations: 'augmentation',
  lossTerms: 'loss term',
  networks: 'network',
  metrics: 'metric',
};

const added = new Map<PartKind, Map<string, Part>>(kinds.map((kind) => [kind, new Map()]));
/** Names that a part of one's own cannot have. */
const taken = new Map<PartKind, Set<string>>(kinds.map((kind) => [kind, new Set()]));
/** Parts that worker threads have too, since they load the same modules. */
const inWorkers = new Set<Part>();

/** The parts of one kind: those of versemi, then those that were added. Both are found in the same way. */
export class PartTable<P extends Part> {
  private readonly builtIn: ReadonlyMap<string, P>;

  constructor(
    private readonly kind: PartKind,
    builtIn: readonly P[] = [],
  ) {
    this.builtIn = new Map(builtIn.map((part) => [part.name, part]));
    for (const name of this.builtIn.keys()) taken.get(kind)!.add(name);
  }

  /** The parts that were added, in the order in which they were. */
  own(): P[] {
    return [...added.get(this.kind)!.values()] as P[];
  }

  /** The names of all parts. */
  names(): string[] {
    return [...this.builtIn.keys(), ...added.get(this.kind)!.keys()];
  }

  /**
   * @param field of the plan or the option that names the part, for the sentence
   * @throws VERSEMI_PART_UNKNOWN
   */
  get(name: string, field: string): P {
    const part = this.builtIn.get(name) ?? (added.get(this.kind)!.get(name) as P | undefined);
    if (part !== undefined) return part;
    const known = this.names();
    throw new VersemiError('PART_UNKNOWN', {
      field,
      expected:
        known.length === 0
          ? `a ${nouns[this.kind]} that was added`
          : `the name of a ${nouns[this.kind]}: ${known.join(', ')}`,
      found: shown(name),
      remedy: 'Correct the name, or load the module that brings the part (loadParts, or --parts FILE).',
    });
  }

  /** Whether worker threads know all parts of these names: those of versemi, and those of modules. */
  areInWorkers(names: readonly string[]): boolean {
    return names.every((name) => this.builtIn.has(name) || inWorkers.has(added.get(this.kind)!.get(name)!));
  }
}

/**
 * Adds parts to the tables of this thread.
 * @param parts lists of parts by kind
 * @param from the module that they come from, which worker threads load too
 * @throws VERSEMI_PART_INVALID naming what is wrong; no part is added then
 */
export function addPartLists(parts: unknown, from?: string): void {
  const lists = checkedLists(parts, from);
  for (const [kind, list] of lists)
    for (const part of list) {
      added.get(kind)!.set(part.name, part);
      if (from !== undefined) inWorkers.add(part);
    }
}

function checkedLists(parts: unknown, from: string | undefined): [PartKind, Part[]][] {
  const invalid = (field: string, expected: string, found: unknown, remedy: string) =>
    new VersemiError('PART_INVALID', {
      ...(from === undefined ? {} : { file: from }),
      ...{ field, expected, found: typeof found === 'string' ? found : shown(found), remedy },
    });
  if (typeof parts !== 'object' || parts === null)
    throw invalid('parts', `an object of lists: ${kinds.join(', ')}`, parts, 'Export such an object as `parts`.');
  return Object.entries(parts).map(([key, list]): [PartKind, Part[]] => {
    const kind = kinds.find((one) => one === key);
    if (kind === undefined) throw invalid(`parts.${key}`, kinds.join(', '), key, 'Name one of these lists.');
    if (!Array.isArray(list)) throw invalid(`parts.${kind}`, 'a list', typeof list, `Write [ ] around a single part.`);
    const names = new Set<string>();
    for (const [i, part] of (list as unknown[]).entries()) {
      const field = `parts.${kind}[${i}]`;
      if (typeof part !== 'object' || part === null) throw invalid(field, 'an object', part, 'Give an object.');
      const { name } = part as Partial<Part>;
      if (typeof name !== 'string' || !partNamePattern.test(name))
        throw invalid(`${field}.name`, '1 to 40 letters, digits and hyphens, first a letter', name, 'Rename the part.');
      for (const method of functionsOf[kind]) {
        const found = typeof (part as Record<string, unknown>)[method];
        if (found !== 'function') throw invalid(`${field}.${method}`, 'a function', found, 'Add the function.');
      }
      const rest = part as Readonly<Record<'group' | 'endings' | 'acrossRanks', unknown>>;
      if (kind === 'lossTerms' && !['labeled', 'mixed', 'unlabeled'].includes(rest.group as string))
        throw invalid(
          `${field}.group`,
          "'labeled', 'mixed' or 'unlabeled'",
          rest.group,
          'Say which images the term is about.',
        );
      if ((kind === 'lossTerms' || kind === 'networks') && !['undefined', 'boolean'].includes(typeof rest.acrossRanks))
        throw invalid(
          `${field}.acrossRanks`,
          'true or false',
          rest.acrossRanks,
          'Say whether it can have the images of a step on several ranks.',
        );
      const isEnding = (text: unknown) => typeof text === 'string' && /^\.[\w.-]+$/.test(text);
      if (
        kind === 'formats' &&
        !(Array.isArray(rest.endings) && rest.endings.length > 0 && rest.endings.every(isEnding))
      )
        throw invalid(
          `${field}.endings`,
          "a list of endings such as '.npy'",
          rest.endings,
          'Name the endings of its files.',
        );
      const before = added.get(kind)!.get(name);
      if (taken.get(kind)!.has(name) || names.has(name) || (before !== undefined && before !== part))
        throw invalid(`${field}.name`, `a name that no other ${nouns[kind]} has`, name, 'Rename the part.');
      names.add(name);
    }
    return [kind, list as Part[]];
  });
}
