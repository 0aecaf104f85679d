/** How the tensors of a training are summed over its ranks: through host memory and MPI, or from GPU to GPU through NCCL. */
import * as tf from '#tfjs';
import { environment, setEnvironment } from '../environment.js';
import { VersemiError } from '../errors.js';
import type { Communicator } from '../ranks/communicator.js';
import { type Device, type DeviceSums, startSumOverRanks } from '../tfjs/index.js';
import { readInto, writeInto } from '../tfjs/ops/host-values.js';

/** Every rank asks for the same sums in the same order. */
export interface RankSums {
  /**
   * The sum of x over the ranks as a tensor of its own, taken on the device: nobody waits for it. Absent where sums go through the host.
   * @param counts false where x of this rank is to add nothing
   */
  readonly sum?: <T extends tf.Tensor>(x: T, counts: boolean) => T;
  /** Begins to sum x, [n], over the ranks, while this process and its device go on. x belongs to the sum from then on. */
  start(x: tf.Tensor1D): PendingTensor;
  /**
   * Ends the sums.
   * @param finished whether every rank ends here; else what is under way is given up
   */
  close(finished: boolean): Promise<void>;
}

/** A tensor that is being summed over the ranks. */
export interface PendingTensor {
  /**
   * The sum, [n], which the caller disposes.
   * @throws VERSEMI_RANK_LOST
   */
  wait(): tf.Tensor1D;
}

/** Through the communicator, in the order of the ranks. */
export function hostSums(ranks: Communicator): RankSums {
  /** Arrays that are in no sum: every step sums as many values as the one before. */
  const free: Float32Array[] = [];
  return {
    start: (x) => {
      const fitting = free.findIndex(({ length }) => length === x.size);
      const values = fitting < 0 ? new Float32Array(x.size) : free.splice(fitting, 1)[0]!;
      readInto(x, values);
      const sum = ranks.startAllReduceSum(values);
      return {
        wait: () => {
          sum.wait();
          writeInto(x, values);
          free.push(values);
          return x;
        },
      };
    },
    close: async () => {},
  };
}

/** The name of NCCL where the loader of the system finds it. */
const systemLibrary = 'libnccl.so.2';
const expected = 'NCCL 2.9 or newer';
const installing =
  'Install it (Debian, Ubuntu: libnccl2 of the repository of CUDA), or name the file by VERSEMI_NCCL; VERSEMI_NCCL=none sums through host memory and MPI.';

/** What a rank finds of NCCL. */
interface Found {
  readonly file: string;
  /** Whether VERSEMI_NCCL names it. */
  readonly named: boolean;
  readonly version?: string | undefined;
  readonly found?: string;
}

/**
 * How the ranks of a run sum their tensors. On a device that has sums of its own, through NCCL where every rank has the same version of
 * it, else through the host.
 * @returns `notice`: which of the two it is and why, where there is a choice
 * @throws VERSEMI_RANKS_UNAVAILABLE where a rank does not have the library that VERSEMI_NCCL names, or where NCCL does not connect the
 *   ranks; VERSEMI_RANK_LOST
 */
export async function openRankSums(
  ranks: Communicator,
  device: Device | undefined,
): Promise<{ readonly sums: RankSums; readonly notice?: string }> {
  if (ranks.size === 1 || device?.sums === undefined) return { sums: hostSums(ranks) };
  const all = await ranks.gather(look(device.sums));
  const [first] = all as [Found];
  const rank = all.findIndex(({ version }) => version === undefined || version !== first.version);
  if (rank < 0) {
    const sums = await connect(ranks, device, device.sums, `NCCL ${first.version}`);
    return { sums, notice: `Sums over the ranks go from GPU to GPU through NCCL ${first.version}.` };
  }
  const odd = all[rank]!;
  const found = odd.found ?? `NCCL ${odd.version}, and ${first.version} on rank 0`;
  if (odd.named)
    throw new VersemiError('RANKS_UNAVAILABLE', {
      field: `VERSEMI_NCCL of rank ${rank}`,
      file: odd.file,
      expected: odd.version === undefined ? expected : 'the same NCCL on every rank',
      found,
      remedy: installing,
    });
  const why =
    odd.file === 'none' ? 'VERSEMI_NCCL=none' : `${expected} on every rank expected, found on rank ${rank}: ${found}`;
  return { sums: hostSums(ranks), notice: `Sums over the ranks go through host memory and MPI (${why}).` };
}

function look(sums: DeviceSums): Found {
  const wanted = environment('VERSEMI_NCCL');
  if (wanted === 'none') return { file: wanted, named: false, found: 'VERSEMI_NCCL=none' };
  const file = wanted ?? systemLibrary;
  return { file, named: wanted !== undefined, ...sums.open(file) };
}

async function connect(ranks: Communicator, device: Device, sums: DeviceSums, name: string): Promise<RankSums> {
  // Sums in the switch are not the same in every run; all others of NCCL are, see README.md.
  if (environment('NCCL_NVLS_ENABLE') === undefined) setEnvironment('NCCL_NVLS_ENABLE', '0');
  const [text] = await ranks.gather(ranks.rank === 0 ? Buffer.from(sums.makeId()).toString('base64') : '');
  const id = Uint8Array.from(Buffer.from(text!, 'base64'));
  const alarm = new Int32Array(1);
  const endWatch = ranks.watch(alarm);
  let timer: NodeJS.Timeout | undefined;
  try {
    const lost = new Promise<never>((_, reject) => {
      timer = setInterval(() => alarm[0] !== 0 && reject(ranks.foundLost()), 100);
    });
    await Promise.race([sums.join(id, ranks.rank, ranks.size, alarm), lost]);
  } catch (error) {
    const found = ranks.foundLost();
    endWatch();
    if (found !== undefined) throw found;
    throw new VersemiError(
      'RANKS_UNAVAILABLE',
      {
        field: name,
        expected: 'that it connects the GPUs of the ranks, one each',
        found: (error as VersemiError).details?.found ?? String(error),
        remedy: 'NCCL_DEBUG=INFO makes NCCL say more; VERSEMI_NCCL=none sums through host memory and MPI.',
      },
      error,
    );
  } finally {
    clearInterval(timer);
  }
  return {
    sum: <T extends tf.Tensor>(x: T, counts: boolean) => {
      const own = counts ? tf.mul(x, 1) : tf.tensor(new Float32Array(x.size), x.shape);
      startSumOverRanks(own);
      return own as T;
    },
    start: (x) => {
      startSumOverRanks(x);
      return { wait: () => x };
    },
    close: async (finished) => {
      let together = false;
      try {
        if (!finished) return;
        // No rank may leave while another still takes values from its GPU.
        await device.synchronize();
        await ranks.barrier();
        together = true;
      } finally {
        sums.leave(!together);
        endWatch();
      }
    },
  };
}
