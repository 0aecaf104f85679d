// Calls of every op of the kernel table, made from its rules.
import { bufferNeeds } from '../../src/tfjs/table/call-check.js';
import { attributeRules, type KernelName } from '../../src/tfjs/table/kernel-table.js';

/** A legal call in which nearly every attribute is 2: the attributes and how many buffers it has. */
export function callOfTwos(kernel: KernelName): { attributes: number[]; buffers: number } {
  const ones = ['relu', 'training'];
  const zeros = ['averages', 'padD', 'padH', 'padW', 'transposed', 'transposeA', 'transposeB', 'kind'];
  const attributes = Object.entries(attributeRules(kernel)).flatMap(([name, rule]) => {
    if (rule.is === 'list') return name === 'permutation' ? [1, 0] : name === 'begin' ? [0, 0] : [2, 2];
    if (/^out[DHW]$/.test(name) || ones.includes(name)) return [1];
    return [zeros.includes(name) ? 0 : 2];
  });
  return { attributes, buffers: bufferNeeds(kernel, attributes).length };
}
