// Loaded before each test by tap ("node-arg" in package.json). tap hands the loader with which it sees what a test reads, for a
// coverage that we do not measure, on to every program that the test starts, and Node takes three times as long to start with that
// loader. A program under test has to start as a person starts it, so the loader is taken out of its environment.
import processOnSpawn from 'process-on-spawn';

// tap adds the loader where a test names an environment for a program, ...
processOnSpawn.removeAllListeners();
// ... has it in the test's own, ...
const options = (process.env.NODE_OPTIONS ?? '').replace(/"?--import=[^" ]*@tapjs\/processinfo[^" ]*"?/, '').trim();
if (options === '') delete process.env.NODE_OPTIONS;
else process.env.NODE_OPTIONS = options;
// ... and in what fork() hands on.
process.execArgv = [];
