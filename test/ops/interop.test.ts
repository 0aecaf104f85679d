/** The gradients that are bundled join the engine of the user's own copy of TF.js, imported or required, in any order. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';

const index = new URL('../../src/tfjs/index.js', import.meta.url).href;
const work = `
  await tf.setBackend('cpu');
  const square = tf.grad((x) => x.mul(x).sum())(tf.tensor1d([1, 2]));
  const filter = tf.ones([2, 2, 2, 1, 1]);
  const transposed = tf.grad((x) => tf.conv3dTranspose(x, filter, [1, 2, 2, 2, 1], 2, 'same'))(tf.ones([1, 1, 1, 1, 1]));
  const fused = versemi.overlapSums(tf.zeros([2]), tf.ones([2]));
  const names = tf.engine().backendNames();
  console.log(JSON.stringify([[...square.dataSync()], [...transposed.dataSync()], fused.dataSync()[4], names, square instanceof tf.Tensor]));
`;
const programs: Record<string, [string, string]> = {
  'import, core first': [
    'module',
    `import * as tf from '@tensorflow/tfjs-core'; import * as versemi from '${index}'; ${work}`,
  ],
  'import, versemi first': [
    'module',
    `import * as versemi from '${index}'; import * as tf from '@tensorflow/tfjs-core'; ${work}`,
  ],
  'require, core first': [
    'commonjs',
    `const tf = require('@tensorflow/tfjs-core'); import('${index}').then(async (versemi) => { ${work} });`,
  ],
  'require, versemi first': [
    'commonjs',
    `import('${index}').then(async (versemi) => { const tf = require('@tensorflow/tfjs-core'); ${work} });`,
  ],
};

for (const [name, [type, program]] of Object.entries(programs))
  t.test(name, async (t) => {
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      [`--input-type=${type}`, '--eval', program],
      {
        cwd: fileURLToPath(new URL('.', import.meta.url)),
      },
    );
    t.same(JSON.parse(stdout), [[2, 4], [8], 2, ['cpu'], true]);
    t.equal(stderr, '', 'no warning about registering twice');
  });
