// The command line with a last line on stderr: the largest resident set of the process. Run by peak-of.ts.
process.on('exit', () => {
  process.stderr.write(`peak ${process.resourceUsage().maxRSS} KiB\n`);
});
await import('../../src/cli/main.js');
