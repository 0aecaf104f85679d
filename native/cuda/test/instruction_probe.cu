// Kernels with one known instruction each, for test/ops/cuda-resources.test.ts: what resources.mjs must find in them, for every
// architecture. Compiled there, never run.
#include <cstdint>

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HOPPER 1
#endif

namespace {

extern __shared__ std::uint32_t shared[];

__device__ std::uint32_t address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

}  // namespace

extern "C" {

__global__ void probe_nothing(std::uint32_t* p) {
  shared[threadIdx.x] = p[1];
  __syncthreads();
  p[0] = shared[3];
}

__global__ void probe_mma(float* d, const std::uint32_t* a) {
  float r[4] = {d[0], d[1], d[2], d[3]};
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(r[0]), "+f"(r[1]), "+f"(r[2]), "+f"(r[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(a[4]), "r"(a[5]));
  for (int i = 0; i < 4; i++) d[i] = r[i];
}

__global__ void probe_mma_tf32(float* d, const std::uint32_t* a) {
  float r[4] = {d[0], d[1], d[2], d[3]};
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(r[0]), "+f"(r[1]), "+f"(r[2]), "+f"(r[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(a[4]), "r"(a[5]));
  for (int i = 0; i < 4; i++) d[i] = r[i];
}

__global__ void probe_wgmma(float* d, std::uint64_t a, std::uint64_t b) {
#if defined(HOPPER)
  float r[4] = {d[0], d[1], d[2], d[3]};
  asm volatile("wgmma.fence.sync.aligned;");
  asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0,%1,%2,%3}, %4, %5, 1, 1, 1, 0, 0;"
               : "+f"(r[0]), "+f"(r[1]), "+f"(r[2]), "+f"(r[3])
               : "l"(a), "l"(b));
  asm volatile("wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;");
  for (int i = 0; i < 4; i++) d[i] = r[i];
#endif
}

__global__ void probe_ldmatrix(std::uint32_t* p) {
  shared[threadIdx.x] = p[1];
  __syncthreads();
  std::uint32_t r[4];
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address(shared + threadIdx.x * 4)));
  p[0] = r[0] + r[1] + r[2] + r[3];
}

__global__ void probe_copyAsync(std::uint32_t* p) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address(shared)), "l"(p), "r"(p[9]) : "memory");
  asm volatile("cp.async.commit_group; cp.async.wait_group 0;" ::: "memory");
  __syncthreads();
  p[0] = shared[3];
}

__global__ void probe_bulkCopy(std::uint32_t* p) {
#if defined(HOPPER)
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(address(shared)),
               "l"(p), "r"(1024), "r"(64)
               : "memory");
#endif
}

__global__ void probe_bulkCopy_tensor(std::uint64_t map) {
#if defined(HOPPER)
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2,%3}], [%4];" ::"r"(
          address(shared)),
      "l"(map), "r"(1), "r"(2), "r"(64)
      : "memory");
#endif
}

__global__ void probe_bulkCopy_store(std::uint64_t map) {
#if defined(HOPPER)
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%1, {%2,%3}], [%0];" ::"r"(address(shared)), "l"(map),
               "r"(1), "r"(2)
               : "memory");
#endif
}

__global__ void probe_localMemory(std::uint32_t* p, int n) {
  std::uint32_t a[64];
  for (int i = 0; i < n; i++) a[p[i] & 63u] = p[i + 1];
  for (int i = 0; i < n; i++) p[i] = a[p[i + 7] & 63u];
}

__global__ void probe_atomics(float* p) { atomicAdd(p, 1.0f); }
__global__ void probe_atomics_returned(float* p) { p[1] = atomicAdd(p, p[3]); }
__global__ void probe_atomics_counted(unsigned* p) { p[1] = atomicAdd(p, p[3]); }
__global__ void probe_atomics_shared(float* p) {
  float* sum = reinterpret_cast<float*>(shared);
  atomicAdd(sum, p[3]);
  __syncthreads();
  p[0] = sum[0];
}
__global__ void probe_atomics_exchanged(unsigned* p) { p[1] = atomicCAS(p, p[2], p[3]); }
__global__ void probe_atomics_shared_counted(unsigned* p) {
  unsigned* sum = reinterpret_cast<unsigned*>(shared);
  p[4] = atomicAdd(sum, p[3]);
  __syncthreads();
  p[0] = sum[0];
}
__global__ void probe_atomics_anywhere(float* p, int n) { p[1] = atomicAdd(n > 0 ? p : reinterpret_cast<float*>(shared) + n, p[3]); }

}  // extern "C"
