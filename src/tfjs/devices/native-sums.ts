import { VersemiError } from '../../errors.js';
import type { BufferId, DeviceSums } from './device.js';

/** What a promise of the addon becomes: null, or a status code and its sentence. */
export type Outcome = null | readonly [status: number, message: string];

/** The methods of a device of the addon that sums over ranks take; see native/addon/addon.cpp. */
export interface AddonSums {
  /** The version, or what is there instead: one of the two is empty. */
  useSumLibrary(file: string): [version: string, found: string];
  makeSumId(id: Uint8Array): number;
  joinRanks(id: Uint8Array, rank: number, ranks: number, alarm: Int32Array): Promise<Outcome>;
  sumOverRanks(buffer: BufferId, elements: number): number;
  leaveRanks(atOnce: boolean): number;
  message(): string;
}

/** Sums over the GPUs of the ranks, through NCCL. */
export class NativeSums implements DeviceSums {
  constructor(private readonly device: AddonSums) {}

  open(file: string) {
    const [version, found] = this.device.useSumLibrary(file);
    return version === '' ? { found } : { version };
  }

  makeId(): Uint8Array {
    const id = new Uint8Array(128);
    this.check('makeId', this.device.makeSumId(id));
    return id;
  }

  async join(id: Uint8Array, rank: number, ranks: number, alarm: Int32Array): Promise<void> {
    const outcome = await this.device.joinRanks(id, rank, ranks, alarm);
    if (outcome !== null) throw new VersemiError('KERNEL_FAILED', { field: 'join', found: outcome[1] });
  }

  start(buffer: BufferId, elements: number): void {
    this.check('sum over the ranks', this.device.sumOverRanks(buffer, elements));
  }

  leave(atOnce: boolean): void {
    this.check('leave', this.device.leaveRanks(atOnce));
  }

  private check(field: string, status: number): void {
    if (status !== 0) throw new VersemiError('KERNEL_FAILED', { field, found: this.device.message() });
  }
}
