import { type ErrorCode, errorTable, exitCodes, isVersemiError, type VersemiError } from '../errors.js';
import { leaveStatus } from './terminal.js';

/** One input of a batch that failed. */
export interface Failure {
  readonly input: string;
  readonly code: VersemiError['code'];
  readonly message: string;
}

/** Failures that the next scan would meet too, and the wish to end: these end a batch. */
const ofTheWhole: readonly ErrorCode[] = ['ABORTED', 'INTERNAL', 'DEVICE_UNAVAILABLE', 'KERNEL_FAILED', 'DISK_FULL'];

/** What failed in a batch whose other inputs are done. */
export class Failures {
  readonly list: Failure[] = [];
  private readonly exitCodes = new Set<number>();

  /** @param total inputs of the batch */
  constructor(private readonly total: number) {}

  /** Does the work on one input. @returns undefined where it failed in a way that the others need not share */
  async guard<T>(input: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!isVersemiError(error) || isVersemiError(error, ...ofTheWhole)) throw error;
      this.add(input, error);
      return undefined;
    }
  }

  add(input: string, error: VersemiError): void {
    this.addPlain(input, error);
  }

  /** A failure of another process. */
  addPlain(input: string, { code, message }: Omit<Failure, 'input'>): void {
    this.list.push({ input, code, message });
    this.exitCodes.add(exitCodes[errorTable[code.replace('VERSEMI_', '') as ErrorCode].kind]);
  }

  /**
   * Lists the failures on stderr, also where it is to be quiet, and sets the exit code: 3, or, when nothing was done and all
   * failed in one way, the code of that.
   * @param what the inputs are called
   */
  tell(what: string): void {
    if (this.list.length === 0) return;
    leaveStatus();
    const of = this.total === 1 ? '' : `${this.list.length} of ${this.total} ${what} failed:\n`;
    process.stderr.write(`${of}${this.list.map(({ code, message }) => `${code}: ${message}\n`).join('')}`);
    const alike = this.list.length === this.total && this.exitCodes.size === 1;
    process.exitCode = alike ? [...this.exitCodes][0]! : exitCodes.input;
  }
}
