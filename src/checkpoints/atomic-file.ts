export { writeError, writeFileAtomic } from '../atomic-file.js';
