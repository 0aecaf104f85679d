import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** File that training leaves in a run folder for use. */
export const modelFileName = 'model.safetensors';

/** A model file, or the one in a run folder. */
export function modelFileOf(path: string): string {
  return existsSync(path) && statSync(path).isDirectory() ? join(path, modelFileName) : path;
}
