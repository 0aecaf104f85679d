import { closeSync, constants, fstatSync, fsyncSync, ftruncateSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { writeError } from './atomic-file.js';

/**
 * A file that grows: a log. Each piece is there as soon as `append` returns, also when the process is killed, and whole: of a
 * piece that did not fit on the disk nothing stays. After `sync` it outlasts a loss of power.
 */
export class AppendedFile {
  private readonly descriptor: number;
  private length: number;
  private closed = false;

  /**
   * @param file made when missing, with its folder
   * @param options.fresh the file must not be there yet
   * @param options.keptBytes what lies behind these bytes is cut off
   * @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED
   */
  constructor(
    readonly file: string,
    options: { readonly fresh?: boolean; readonly keptBytes?: number } = {},
  ) {
    try {
      mkdirSync(dirname(file), { recursive: true });
      // Written at positions of our own: Windows cuts no file that was opened for appending.
      this.descriptor = openSync(file, constants.O_RDWR | constants.O_CREAT | (options.fresh ? constants.O_EXCL : 0));
      try {
        this.length = fstatSync(this.descriptor).size;
        if (options.keptBytes !== undefined && options.keptBytes < this.length) this.cut(options.keptBytes);
      } catch (error) {
        closeSync(this.descriptor);
        throw error;
      }
    } catch (error) {
      throw writeError(file, error);
    }
  }

  /** @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED */
  append(piece: Uint8Array | string): void {
    const bytes = typeof piece === 'string' ? new TextEncoder().encode(piece) : piece;
    try {
      let written = 0;
      while (written < bytes.byteLength)
        written += writeSync(this.descriptor, bytes, written, bytes.byteLength - written, this.length + written);
      this.length += bytes.byteLength;
    } catch (error) {
      try {
        this.cut(this.length);
      } catch {
        // What failed first is what is told.
      }
      throw writeError(this.file, error);
    }
  }

  /** @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED: some disks find out only now */
  sync(): void {
    try {
      fsyncSync(this.descriptor);
    } catch (error) {
      // Some file systems know no fsync.
      if (!['EINVAL', 'ENOSYS', 'ENOTSUP'].includes((error as NodeJS.ErrnoException).code ?? ''))
        throw writeError(this.file, error);
    }
  }

  /** Closes without a sync: callers that rely on what they wrote have synced it. */
  close(): void {
    if (!this.closed) closeSync(this.descriptor);
    this.closed = true;
  }

  private cut(length: number): void {
    ftruncateSync(this.descriptor, length);
    this.length = length;
  }
}
