import { randomUUID } from 'node:crypto';
import { dirname } from 'node:path';
import { VersemiError } from '../errors.js';
import { removeFolder, type UploadedFile } from './uploads.js';

/** An image that a client has sent and will ask for again. */
export interface KeptImage {
  /** A file, or a folder of slices. */
  readonly path: string;
  readonly folder: string;
  readonly bytes: number;
  readonly files: number;
  /** Seconds since 1970. */
  readonly created: number;
  lastUsed: number;
  /** It goes when nobody has used it for so many seconds. */
  readonly expirySeconds: number;
}

const mostImages = 64;
/** Most bytes of all images together. */
const mostKeptBytes = 2 ** 33;
const longestExpirySeconds = 3600;

/** Images of sessions, and images that were uploaded under a name. They lie in the server's own folder and go with the server. */
export class KeptImages {
  private readonly images = new Map<string, KeptImage>();

  /**
   * @param id what the image is asked for by; an image of that name is replaced
   * @param files one image, or the slices of one, alone in their folder
   * @throws VERSEMI_REQUEST_INVALID without files, VERSEMI_REQUEST_TOO_LARGE
   */
  async add(files: readonly UploadedFile[], id: string = randomUUID(), expiry = 0): Promise<string> {
    const [first] = files;
    if (first === undefined) {
      throw new VersemiError('REQUEST_INVALID', {
        field: 'files',
        expected: 'an image as a part of the form',
        found: 'no file',
        remedy: 'Send the image.',
      });
    }
    await this.sweep();
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    const others = [...this.images].filter(([key]) => key !== id);
    const kept = others.reduce((sum, [, image]) => sum + image.bytes, 0);
    if (others.length >= mostImages || kept + bytes > mostKeptBytes) {
      throw new VersemiError('REQUEST_TOO_LARGE', {
        field: 'files',
        expected: `at most ${mostImages} images of ${mostKeptBytes} bytes together`,
        found: `${others.length + 1} of ${kept + bytes} bytes`,
        remedy: 'Delete sessions that are no longer needed, or start the server again.',
      });
    }
    await this.remove(id);
    const folder = dirname(first.path);
    const now = seconds();
    this.images.set(id, {
      ...{ path: files.length === 1 ? first.path : folder, folder, bytes, files: files.length },
      ...{ created: now, lastUsed: now },
      expirySeconds: expiry > 0 ? Math.min(expiry, longestExpirySeconds) : longestExpirySeconds,
    });
    return id;
  }

  async get(id: string): Promise<KeptImage | undefined> {
    await this.sweep();
    const image = this.images.get(id);
    if (image !== undefined) image.lastUsed = seconds();
    return image;
  }

  ids(): string[] {
    return [...this.images.keys()];
  }

  /** @returns the image that was removed */
  async remove(id: string): Promise<KeptImage | undefined> {
    const image = this.images.get(id);
    this.images.delete(id);
    if (image !== undefined) await removeFolder(image.folder);
    return image;
  }

  private async sweep(): Promise<void> {
    const now = seconds();
    for (const [id, image] of this.images) if (image.lastUsed + image.expirySeconds < now) await this.remove(id);
  }
}

function seconds(): number {
  return Math.floor(Date.now() / 1000);
}
