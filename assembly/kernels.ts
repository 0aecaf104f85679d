// Kernel table of the device wasm. Grows by re-exports from kernels/.
export function heapBase(): usize {
  return __heap_base;
}
