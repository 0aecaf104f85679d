import { existsSync, statSync } from 'node:fs';
import { runFiles } from '../training/run-folder.js';

/** A model file, or the one in a run folder. */
export function modelFileOf(path: string): string {
  return existsSync(path) && statSync(path).isDirectory() ? runFiles(path).model : path;
}
