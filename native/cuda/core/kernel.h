// What a CUDA kernel family is made of: the host side of native/cuda. Sources named NAME.cu are compiled by nvcc for the
// device, and by the host's compiler, with VERSEMI_CUDA_EMULATED defined, for the emulator that the tests run on (see
// target.h). Nothing here knows Node, a model or a file format; nothing prints, throws across the ABI or aborts.
#ifndef VERSEMI_CUDA_KERNEL_H
#define VERSEMI_CUDA_KERNEL_H

#include <cstddef>
#include <cstdint>

#include "core/target.h"
#include "versemi/kernel_table.h"

namespace versemi {
namespace cuda {

// How the numbers of a buffer lie in memory. The TF.js dtype is float32 in both cases; a kernel chooses for its outputs.
enum class storage : std::uint8_t { float32, bfloat16 };

// Operands of convolutions: bfloat16 with activations stored as bfloat16 (the default), TF32 or exact float32 with
// activations stored as float32. Sums are float32 in all of them.
enum class precision : std::uint8_t { bfloat16, tf32, float32 };

// One tensor of a call. data is nullptr and elements 0 where an optional one is absent.
struct tensor {
  void* data = nullptr;
  std::int64_t elements = 0;  // capacity as float32 elements
  storage format = storage::float32;

  bool present() const { return elements != 0; }
};

class context;  // stream, scratch memory, properties of the device: context.h

// One row of the table. Rows of one op stand together, best first, the plain one last; the first that does not refuse runs.
struct kernel {
  std::int32_t op;  // versemi_op
  const char* name; // e.g. "halo-mma"
  // nullptr if the kernel can run this call on this device, else the reason (a string that outlives the call).
  const char* (*refuses)(const context& device, const double* attributes, std::int32_t attribute_count);
  // Before the call. In: tensors in the order of src/tfjs/table/kernel-table.ts (inputs, then outputs), inputs with the format in
  // which they are stored, outputs float32. Out: `format` of every tensor as `run` wants it. An input stored otherwise is
  // converted into scratch by the caller; an output that has no memory yet gets it in that format; an output that exists
  // already (written in place: parameters, arenas, moments) is always float32. nullptr: everything float32.
  void (*plan)(const context& device, tensor* tensors, std::int32_t tensor_count, const double* attributes,
               std::int32_t attribute_count);
  // Asynchronous on context::stream(). Attributes were checked against the sizes of the buffers before.
  versemi_status (*run)(context& device, const tensor* tensors, std::int32_t tensor_count, const double* attributes,
                        std::int32_t attribute_count);
};

// `refuses` of a row that takes every call of its op.
inline const char* takes_all(const context&, const double*, std::int32_t) { return nullptr; }

// The data of a tensor that lies as float32 (nullptr where it is absent).
inline float* floats(const tensor& t) { return static_cast<float*>(t.data); }

struct kernel_rows {
  const kernel* rows;
  std::int32_t count;
};

// A family is a file NAME.cu that defines `kernel_rows NAME_kernels()` in versemi::cuda; its name stands here, in the order
// in which rows are tried.
#define VERSEMI_CUDA_FAMILIES(FAMILY) \
  FAMILY(conv3d_hopper)               \
  FAMILY(conv3d_halo)                 \
  FAMILY(conv3d_gemm)                 \
  FAMILY(conv3d_grad_weight)          \
  FAMILY(conv3d_plain)                \
  FAMILY(norm)                        \
  FAMILY(head)                        \
  FAMILY(loss)                        \
  FAMILY(optimizer)                   \
  FAMILY(elementwise)                 \
  FAMILY(reduce)                      \
  FAMILY(matmul)                      \
  FAMILY(layout)                      \
  FAMILY(patches)

#define VERSEMI_CUDA_DECLARE(name) kernel_rows name##_kernels();
VERSEMI_CUDA_FAMILIES(VERSEMI_CUDA_DECLARE)
#undef VERSEMI_CUDA_DECLARE

// Rows of one op in the order of the families: rows(op, &count) -> pointers that live as long as the program. table.cpp.
const kernel* const* rows_of(std::int32_t op, std::int32_t* count);

}  // namespace cuda
}  // namespace versemi

#endif
