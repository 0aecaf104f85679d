// The program of the process that works on the cases of a cohort: the same command line, under the eyes of the process that started it.
import './interrupt.js';

const { openWorkerLink } = await import('../cohort/worker-link.js');
openWorkerLink();
await import('./main.js');
