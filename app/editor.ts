import type { Triple } from '../src/volume/volume.js';

/** Voxels of one mask that were changed together. */
interface Change {
  readonly task: string;
  readonly voxels: Uint32Array;
}

/** More than this many bytes of changes are not kept: the oldest are forgotten. */
const mostBytes = 64e6;

/**
 * Masks that can be corrected, with undo and redo. A mask is 0 and 1, so a change is the list of voxels that were turned over, and
 * undoing it turns them over again.
 */
export class Editor {
  readonly masks = new Map<string, Uint8Array>();
  private done: Change[] = [];
  private undone: Change[] = [];

  /** Forgets all masks and changes. */
  clear(): void {
    this.masks.clear();
    this.done = [];
    this.undone = [];
  }

  get canUndo(): boolean {
    return this.done.length > 0;
  }

  get canRedo(): boolean {
    return this.undone.length > 0;
  }

  /** Makes a mask what it is to be. @returns how many voxels changed */
  become(task: string, wanted: Uint8Array): number {
    const mask = this.masks.get(task)!;
    const voxels: number[] = [];
    for (let i = 0; i < mask.length; i++) if ((mask[i] !== 0) !== (wanted[i] !== 0)) voxels.push(i);
    return this.change(task, voxels);
  }

  /** Adds voxels. @returns how many were added */
  add(task: string, added: Uint8Array): number {
    const mask = this.masks.get(task)!;
    const voxels: number[] = [];
    for (let i = 0; i < mask.length; i++) if (added[i] !== 0 && mask[i] === 0) voxels.push(i);
    return this.change(task, voxels);
  }

  /**
   * Paints a disc in an axial slice.
   * @param sizeVoxels diameter, odd
   * @returns how many voxels changed
   */
  paint(
    task: string,
    [x, y, z]: Triple,
    size: { readonly grid: Triple; readonly brush: number },
    value: 0 | 1,
  ): number {
    const mask = this.masks.get(task)!;
    const [sizeX, sizeY] = size.grid;
    const radius = (size.brush - 1) / 2;
    const voxels: number[] = [];
    for (let atY = Math.max(0, y - radius); atY <= Math.min(sizeY - 1, y + radius); atY++)
      for (let atX = Math.max(0, x - radius); atX <= Math.min(sizeX - 1, x + radius); atX++) {
        const voxel = atX + sizeX * (atY + sizeY * z);
        if (Math.hypot(atX - x, atY - y) <= radius + 0.25 && mask[voxel] !== value) voxels.push(voxel);
      }
    return this.change(task, voxels);
  }

  private change(task: string, voxels: readonly number[]): number {
    if (voxels.length === 0) return 0;
    const change = { task, voxels: Uint32Array.from(voxels) };
    this.turn(change);
    this.done.push(change);
    this.undone = [];
    let bytes = this.done.reduce((sum, each) => sum + each.voxels.byteLength, 0);
    while (bytes > mostBytes && this.done.length > 1) bytes -= this.done.shift()!.voxels.byteLength;
    return voxels.length;
  }

  /** @returns the task whose mask changed */
  undo(): string | undefined {
    const change = this.done.pop();
    if (change === undefined) return undefined;
    this.turn(change);
    this.undone.push(change);
    return change.task;
  }

  /** @returns the task whose mask changed */
  redo(): string | undefined {
    const change = this.undone.pop();
    if (change === undefined) return undefined;
    this.turn(change);
    this.done.push(change);
    return change.task;
  }

  private turn({ task, voxels }: Change): void {
    const mask = this.masks.get(task)!;
    for (const voxel of voxels) mask[voxel]! ^= 1;
  }
}
