// The addon whose device `cuda` is the emulator, for tests through the whole TypeScript stack. Importing this file chooses it:
// which addon there is, is read when the first device is asked for.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/root.js';

// Built by test/run.mjs with the native tests; by hand: node test/native-build.mjs.
const addon = join(packageRoot, 'build', 'native-tests', 'versemi.node');
process.env.VERSEMI_ADDON = addon;

/** Why tests on the emulated device are skipped, or false. */
export const noEmulator = existsSync(addon) ? false : 'no emulated addon: node test/native-build.mjs makes it';
