import { RandomStream, streams } from '../random.js';

/** One draw of a training sample: which group (dataset) and the number of earlier draws from that group. */
export interface GroupDraw {
  readonly group: number;
  readonly draw: number;
}

// Sample numbers of the stream `cases`: what a shuffle is for. The step of the stream is the number of the shuffle.
const shuffleOf = { groups: 0, members: 0x10000, tasks: 0x20000 } as const;

/**
 * An endless, balanced order of draws from groups of members, any place of which can be computed without the places
 * before it. Every group comes up twice in each block of 2 * groups draws, so that all groups are drawn equally often;
 * within a group every member comes up once per epoch (a new shuffle each time). Draws 2i and 2i + 1 come from different
 * groups whenever there are two.
 */
export class BalancedSchedule {
  private readonly shuffles = new Map<number, { block: number; order: number[] }>();

  /**
   * @param pool distinguishes the labelled (0) from the unlabelled (1) order of one seed
   * @param members number of members of each group, all >= 1
   */
  constructor(
    private readonly seed: number,
    private readonly pool: 0 | 1,
    private readonly members: readonly number[],
  ) {}

  /** Which group draw number `position` falls to. */
  group(position: number): GroupDraw {
    const groups = this.members.length;
    const block = Math.floor(position / (2 * groups));
    const place = position - block * 2 * groups;
    const first = this.shuffled(shuffleOf.groups, 2 * block, groups);
    if (place < groups) return { group: first[place]!, draw: 2 * block };
    const second = this.shuffled(shuffleOf.groups + 1, 2 * block + 1, groups).slice();
    // The last of the first half and the first of the second may be a pair (odd number of groups): they must differ.
    if (groups > 1 && second[0] === first[groups - 1]) [second[0], second[1]] = [second[1]!, second[0]!];
    return { group: second[place - groups]!, draw: 2 * block + 1 };
  }

  /** Which member of the group a draw falls to. */
  member({ group, draw }: GroupDraw): number {
    return this.inTurn(shuffleOf.members + group, draw, this.members[group]!);
  }

  /** Which of `count` tasks of the group a draw falls to: each equally often. */
  task({ group, draw }: GroupDraw, count: number): number {
    return this.inTurn(shuffleOf.tasks + group, draw, count);
  }

  private inTurn(purpose: number, draw: number, count: number): number {
    const epoch = Math.floor(draw / count);
    return this.shuffled(purpose, epoch, count)[draw - epoch * count]!;
  }

  /** Shuffle number `block` of 0 ... count - 1; the latest of each purpose is kept, since draws mostly go forward. */
  private shuffled(purpose: number, block: number, count: number): readonly number[] {
    const kept = this.shuffles.get(purpose);
    if (kept?.block === block) return kept.order;
    const random = new RandomStream(this.seed, streams.cases, block, purpose + this.pool * 0x1000000);
    const order = random.shuffled(Array.from({ length: count }, (_, i) => i));
    this.shuffles.set(purpose, { block, order });
    return order;
  }
}
