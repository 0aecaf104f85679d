// Fuzzes the readers of files: `node test/fuzz/run.mjs --help`. Build first (npm run build).
import { main } from '../../dist/test/fuzz/command.js';

process.exitCode = await main();
